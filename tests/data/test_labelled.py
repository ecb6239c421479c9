"""Labelled inputs: what is read of each kind, how it is split and encoded, and what is refused."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.test_audio import write_wav
from undula.data import labelled
from undula.data.example import Example, Found
from undula.data.labelled import load_examples, prepare_labelled, split_examples
from undula.data.labelled_config import LabelledDataConfig as Config
from undula.data.labelled_texts import TOPICS


def rows(count=24):
    """Lines of a table: texts of two classes."""
    return [{"text": f"{'good' if i % 2 else 'bad'} number {i}", "label": "ny"[i % 2]} for i in range(count)]


def write_jsonl(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def images(folder, sizes=((4, 5),), mode="L", count=3):
    draw = np.random.default_rng(0)
    for label in ("cat", "dog"):
        for i in range(count):
            size = sizes[i % len(sizes)]
            shape = size if mode == "L" else (*size, len(mode))
            path = folder / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, shape, np.uint8), mode=None).save(path)
    return str(folder)


def sounds(folder, rates=(2000,), count=4):
    draw = np.random.default_rng(0)
    for digit in range(2):
        for i in range(count):
            write_wav(folder / f"{digit}_anna_{i}.wav", draw.uniform(-0.5, 0.5, 300 + i), rate=rates[i % len(rates)])
    return str(folder)


def test_rows_of_a_csv_are_classes_and_every_one_is_on_one_side(tmp_path):
    lines = ["text,label", *(f'"{row["text"]}, he said",{row["label"]}' for row in rows())]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    data = prepare_labelled(Config(source=str(tmp_path / "a.csv"), test_fraction=0.25))
    assert data.labels == ("n", "y")
    assert (len(data.train), len(data.test)) == (18, 6)
    assert sorted(int(item.label) for item in data.test) == [0, 0, 0, 1, 1, 1]
    told = {data.tokenizer.decode(item.values): int(item.label) for item in (*data.train, *data.test)}
    assert told == {f"{row['text']}, he said": "ny".index(row["label"]) for row in rows()}


def test_the_choice_depends_on_contents_and_seed_alone(tmp_path):
    def held_out(lines, **changes):
        data = prepare_labelled(Config(source=write_jsonl(tmp_path / "a.jsonl", lines), **changes))
        return {data.tokenizer.decode(item.values) for item in data.test}

    first = held_out(rows())
    assert held_out(rows()[::-1]) == first
    assert held_out(rows(), split_seed=1) != first
    # A copy is on the side of what it is a copy of.
    assert held_out(rows() + rows()) == first


def test_parts_of_a_document_stay_together(tmp_path):
    lines = [{**row, "document": f"d{i // 6}"} for i, row in enumerate(rows())]
    data = Config(source=write_jsonl(tmp_path / "a.jsonl", lines))
    train, test = split_examples(load_examples(data), data)
    sides = [{example.document for example in side} for side in (train, test)]
    assert sides[0].isdisjoint(sides[1])
    assert sides[0] | sides[1] == {"d0", "d1", "d2", "d3"}


def test_what_is_held_out_is_not_in_training_whatever_the_rule():
    examples = [Example(f"f{i}", f"text {i % 7}", "ny"[i % 2]) for i in range(14)]
    for config, found in (
        (Config(held_out="tail", test_fraction=0.3), Found(examples)),
        (Config(held_out="names", test_pattern="f1"), Found(examples)),
        (Config(), Found(examples[:9], examples[5:8])),
    ):
        train, test = split_examples(found, config)
        assert {e.content for e in train}.isdisjoint({e.content for e in test})
        assert train
    tail = split_examples(Found(examples), Config(held_out="tail", test_fraction=0.3))[1]
    assert [e.name for e in tail] == ["f9", "f10", "f11", "f12", "f13"]


def test_splits_of_the_source_are_taken(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", rows(8))
    write_jsonl(tmp_path / "test.jsonl", rows(12)[8:])
    data = prepare_labelled(Config(source=str(tmp_path)))
    assert (len(data.train), len(data.test)) == (8, 4)
    write_jsonl(tmp_path / "validation.jsonl", rows(14)[12:])
    assert len(prepare_labelled(Config(source=str(tmp_path))).test) == 2
    write_jsonl(tmp_path / "validation.jsonl", [{"text": "a", "label": "maybe"}])
    with pytest.raises(ValueError, match="label 'maybe' is held out, and training has no example of it"):
        prepare_labelled(Config(source=str(tmp_path)))


def test_a_tag_stands_at_the_first_token_of_its_word(tmp_path):
    lines = [{"tokens": ["the", "cat", f"sat{i}"], "tags": ["D", "N", "V"]} for i in range(6)]
    data = prepare_labelled(Config(target="tags", source=write_jsonl(tmp_path / "a.jsonl", lines)))
    item = data.train[0]
    assert data.labels == ("D", "N", "V")
    assert data.tokenizer.decode(item.values).startswith("the cat sat")
    assert item.label.tolist() == [0, -100, -100, 1, -100, -100, -100, 2, *[-100] * 4]


def test_numbers_have_a_mean_and_a_spread(tmp_path):
    lines = [{"text": f"t{i}", "value": i} for i in range(10)]
    data = prepare_labelled(Config(target="number", source=write_jsonl(tmp_path / "a.jsonl", lines)))
    truth = torch.stack([item.label for item in data.train])
    assert data.target_scale == pytest.approx((float(truth.mean()), float(truth.std(correction=0))))
    assert data.labels == ()


def test_embedded_texts_share_no_topic_and_no_paragraph():
    for source, target in (("topics", "class"), ("code", "tags"), ("words", "number")):
        config = Config(source=source, target=target)
        train, test = split_examples(load_examples(config), config)
        assert {e.document for e in train}.isdisjoint({e.document for e in test})
        assert len(test) > 100
    topics = load_examples(Config()).train
    assert all(example.document in TOPICS[example.target].split() for example in topics)
    texts = [example.content for example in topics]
    assert len(set(texts)) == len(texts)
    words = load_examples(Config(source="words", target="number")).train[0]
    assert " " not in words.content
    assert 2 < words.target < 12
    tags = load_examples(Config(source="code", target="tags")).train
    assert all(len(example.content) == len(example.target) for example in tags)
    assert {"assert"} <= {w for e in tags for w, tag in zip(e.content, e.target, strict=True) if tag == "code"}
    with pytest.raises(ValueError, match="'topics' with target='number'; it has target='class'"):
        load_examples(Config(target="number"))


def test_a_fingerprint_tells_data_and_choices_apart(tmp_path):
    source = write_jsonl(tmp_path / "a.jsonl", rows())
    first = prepare_labelled(Config(source=source)).fingerprint
    assert prepare_labelled(Config(source=source)).fingerprint == first
    others = [
        prepare_labelled(Config(source=source, **change)).fingerprint
        for change in ({"max_tokens": 9}, {"split_seed": 1})
    ]
    changed = [{**row, "label": "ny"[row["label"] == "n"]} for row in rows()]
    others.append(prepare_labelled(Config(source=write_jsonl(tmp_path / "b.jsonl", changed))).fingerprint)
    assert len({first, *others}) == 4


def test_images_of_folders_are_pixels_between_0_and_1(tmp_path):
    data = prepare_labelled(Config(kind="image", source=images(tmp_path)))
    assert data.labels == ("cat", "dog")
    item = data.train[0]
    assert (tuple(item.values.shape), item.values.dtype) == ((1, 4, 5), torch.float32)
    want = np.asarray(Image.open(tmp_path / "cat" / "0.png")) / 255
    found = [x.content for x in load_examples(data.config).train if x.name == "cat/0.png"][0]
    torch.testing.assert_close(found[0], torch.from_numpy(want).float())
    pixels = torch.stack([x.values for x in data.train])
    assert data.input_scale == pytest.approx((float(pixels.mean()), float(pixels.std(correction=0))), rel=1e-5)


def test_images_are_brought_to_one_size_and_one_number_of_channels_where_asked(tmp_path):
    source = images(tmp_path, sizes=((4, 5), (6, 6)), mode="RGB")
    with pytest.raises(ValueError, match=r"cat/0.png is 4 x 5, cat/1.png is 6 x 6 pixels; say data.image_size=N"):
        load_examples(Config(kind="image", source=source))
    found = load_examples(Config(kind="image", source=source, image_size=7, channels=1)).train
    assert {tuple(example.content.shape) for example in found} == {(1, 7, 7)}
    images(tmp_path / "other", mode="RGBA")
    with pytest.raises(ValueError, match=r"0.png has pixels of the kind RGBA; .* say data.channels=1 or 3"):
        load_examples(Config(kind="image", source=str(tmp_path / "other")))
    images(tmp_path / "mixed")
    images(tmp_path / "more", mode="RGB")
    (tmp_path / "more" / "dog").rename(tmp_path / "mixed" / "fox")
    with pytest.raises(ValueError, match=r"cat/0.png has 1 channels, fox/0.png has 3; say data.channels=1 or 3"):
        load_examples(Config(kind="image", source=str(tmp_path / "mixed")))


def test_images_of_arrays(tmp_path):
    draw = np.random.default_rng(0)
    values = draw.integers(0, 256, (8, 3, 4), np.uint8)
    np.savez(tmp_path / "a.npz", images=values, labels=np.arange(8) % 2)
    found = load_examples(Config(kind="image", source=str(tmp_path / "a.npz"))).train
    torch.testing.assert_close(found[3].content[0], torch.from_numpy(values[3]).float() / 255)
    assert found[3].target == "1"
    np.savez(tmp_path / "b.npz", images=draw.random((8, 3, 4, 3)), labels=np.arange(8) % 2)
    assert tuple(load_examples(Config(kind="image", source=str(tmp_path / "b.npz"))).train[0].content.shape) == (
        3,
        3,
        4,
    )
    for wrong, message in (
        ({"images": values, "labels": np.arange(7)}, r"images \(8, 3, 4\) and labels \(7,\)"),
        ({"images": values.astype(int), "labels": np.arange(8)}, "images of int64; wanted bytes"),
        ({"images": draw.random((8, 3, 4, 2)), "labels": np.arange(8)}, "images of 2 channels; wanted 1 or 3"),
        ({"pictures": values}, "wanted arrays `images` and `labels`"),
    ):
        np.savez(tmp_path / "c.npz", **wrong)
        with pytest.raises(ValueError, match=message):
            load_examples(Config(kind="image", source=str(tmp_path / "c.npz")))


def test_digits_are_those_of_scikit_learn(monkeypatch):
    module = types.ModuleType("sklearn.datasets")
    grey = np.random.default_rng(0).integers(0, 17, (20, 8, 8))
    module.load_digits = lambda: types.SimpleNamespace(images=grey.astype(float), target=np.arange(20) % 2)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", module)
    monkeypatch.setitem(sys.modules, "sklearn", types.ModuleType("sklearn"))
    found = prepare_labelled(Config(kind="image", source="digits", held_out="tail", test_fraction=0.5))
    assert torch.equal(found.train[1].values[0] * 16, torch.from_numpy(grey[1]).float())
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'undula\[vision\]'"):
        prepare_labelled(Config(kind="image", source="digits"))


def test_recordings_have_their_label_in_their_names(tmp_path):
    config = Config(kind="sound", source=sounds(tmp_path), label_pattern=r"^(\d)_", held_out="names", test_pattern="_3")
    data = prepare_labelled(config)
    assert (data.labels, data.sample_rate) == (("0", "1"), 2000)
    assert [int(item.label) for item in data.test] == [0, 1]
    assert [len(item.values) for item in data.test] == [303, 303]
    cut = prepare_labelled(Config(kind="sound", source=str(tmp_path), label_pattern=r"^(\d)_", max_seconds=0.1))
    assert {len(item.values) for item in cut.train} == {200}
    with pytest.raises(ValueError, match=r"0_anna_0.wav does not match data.label_pattern='\^\(a\)"):
        load_examples(Config(kind="sound", source=str(tmp_path), label_pattern="^(a)_"))


def test_recordings_of_several_rates_are_refused_or_brought_to_one(tmp_path):
    source = sounds(tmp_path, rates=(2000, 4000))
    with pytest.raises(
        ValueError, match=r"0_anna_0.wav has 2000 samples per second, .*1.wav has 4000; say data.sample_rate"
    ):
        load_examples(Config(kind="sound", source=source, label_pattern=r"^(\d)_"))
    found = load_examples(Config(kind="sound", source=source, label_pattern=r"^(\d)_", sample_rate=1000))
    assert (found.sample_rate, [len(e.content) for e in found.train[:2]]) == (1000, [150, 76])


def test_what_cannot_be_read_is_said(tmp_path):
    source = images(tmp_path / "images")
    (tmp_path / "images" / "cat" / "1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cat/1.png cannot be read as an image"):
        load_examples(Config(kind="image", source=source))
    (tmp_path / "images" / "fox").mkdir()
    with pytest.raises(ValueError, match="class 'fox' of .* has no file; fill or remove its folder"):
        load_examples(Config(kind="image", source=source))
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_examples(Config(kind="sound", source=str(tmp_path / "none")))
    write_wav(tmp_path / "sounds" / "0.wav", np.zeros(100))
    with pytest.raises(ValueError, match=r"0.wav lies in no folder of a class; .* data.label_pattern"):
        load_examples(Config(kind="sound", source=str(tmp_path / "sounds")))


@pytest.mark.parametrize(
    ("target", "line", "message"),
    [
        ("class", {"text": "a"}, r"row 1 has nothing in column 'label'; it has the columns text"),
        ("class", {"text": " ", "label": "n"}, "row 1: got ' '; wanted a text that is not empty"),
        ("class", {"text": "a", "label": " "}, "row 1: the label is empty"),
        ("number", {"text": "a", "value": "x"}, "row 1: value 'x'; wanted a finite number"),
        ("number", {"text": "a", "value": "inf"}, "row 1: value 'inf'; wanted a finite number"),
        ("tags", {"tokens": ["a"], "tags": []}, r"wanted two lists of one length"),
        ("tags", {"tokens": [""], "tags": ["N"]}, "wanted words that are not empty"),
    ],
)
def test_rows_that_are_wrong_are_named(tmp_path, target, line, message):
    with pytest.raises(ValueError, match=message):
        load_examples(Config(target=target, source=write_jsonl(tmp_path / "a.jsonl", [line])))


def test_files_that_are_no_tables_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": 1}\nnot json\n')
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        load_examples(Config(source=str(tmp_path / "a.jsonl")))
    (tmp_path / "b.csv").write_text("text,label\n")
    with pytest.raises(ValueError, match="holds no row"):
        load_examples(Config(source=str(tmp_path / "b.csv")))
    with pytest.raises(FileNotFoundError, match="give a file that ends with .csv, .jsonl, .parquet"):
        load_examples(Config(source=str(tmp_path / "c.csv")))


def test_one_class_or_one_document_is_too_few(tmp_path):
    same = write_jsonl(tmp_path / "a.jsonl", [{"text": f"t{i}", "label": "n"} for i in range(4)])
    with pytest.raises(ValueError, match=r"1 label\(s\) \(n\); wanted at least 2"):
        prepare_labelled(Config(source=same))
    single = write_jsonl(tmp_path / "b.jsonl", [*rows(6), {"text": "t", "label": "rare"}])
    with pytest.raises(ValueError, match=r"class 'rare' has 1 different document"):
        prepare_labelled(Config(source=single))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "image", "target": "tags"}, "only the tokens of texts have tags"),
        ({"test_fraction": 1.0}, "test_fraction=1.0; wanted a share"),
        ({"held_out": "names"}, "give a pattern with 'names'"),
        ({"test_pattern": "a"}, "give a pattern with 'names'"),
        ({"label_pattern": "a"}, "has no group; wanted the label in parentheses"),
        ({"label_pattern": "("}, "is no regular expression"),
        ({"channels": 2}, "channels=2; wanted 1"),
        ({"max_tokens": 0}, "max_tokens=0; wanted at least 1"),
        ({"max_seconds": 0.0}, "max_seconds=0.0; wanted more than 0"),
        ({"tokenizer": "bpe", "vocab_size": 200}, "need at least 259"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Config(**values)


def test_a_label_that_training_did_not_have_is_refused(tmp_path):
    data = prepare_labelled(Config(source=write_jsonl(tmp_path / "a.jsonl", rows())))
    with pytest.raises(ValueError, match="x has the label 'z', which training did not have: n, y"):
        labelled.encoded_like([Example("x", "text", "z")], data)
