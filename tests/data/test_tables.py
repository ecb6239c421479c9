"""Tables through Hugging Face's datasets: classes by name, images, recordings, and parallel text."""

import io

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from tests.data.test_audio import write_wav
from undula.data.config import ParallelDataConfig
from undula.data.labelled import load_examples, prepare_labelled
from undula.data.labelled_config import LabelledDataConfig as Config
from undula.data.parallel import prepare_parallel, read_pairs
from undula.data.tables import read_tables


def parquet(path, columns, **features):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = datasets.Dataset.from_dict(columns, features=datasets.Features(features) if features else None)
    made.to_parquet(str(path))
    return str(path)


def test_classes_have_their_names(tmp_path):
    label = datasets.ClassLabel(names=["bad", "good"])
    columns = {"sentence": [f"t{i}" for i in range(12)], "kind": [i % 2 for i in range(12)]}
    source = parquet(tmp_path / "a.parquet", columns, sentence=datasets.Value("string"), kind=label)
    data = prepare_labelled(Config(source=source, columns=("sentence", "kind")))
    assert data.labels == ("bad", "good")
    assert len(data.train) + len(data.test) == 12


def test_tags_have_their_names(tmp_path):
    tags = datasets.Sequence(datasets.ClassLabel(names=["D", "N"]))
    columns = {"tokens": [["the", f"cat{i}"] for i in range(6)], "tags": [[0, 1]] * 6}
    source = parquet(tmp_path / "a.parquet", columns, tokens=datasets.Sequence(datasets.Value("string")), tags=tags)
    assert load_examples(Config(target="tags", source=source)).train[2].target == ["D", "N"]


def test_images_and_recordings_are_read_from_their_bytes(tmp_path):
    draw = np.random.default_rng(0)
    pixels = [draw.integers(0, 256, (3, 4), np.uint8) for _ in range(6)]
    files = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="png")
        files.append({"bytes": file.getvalue(), "path": None})
    columns = {"image": files, "label": ["a", "b"] * 3}
    source = parquet(tmp_path / "a.parquet", columns, image=datasets.Image(), label=datasets.Value("string"))
    found = load_examples(Config(kind="image", source=source)).train
    torch.testing.assert_close(found[4].content[0], torch.from_numpy(pixels[4]).float() / 255)
    path = write_wav(tmp_path / "a.wav", draw.uniform(-0.5, 0.5, 300), rate=2000)
    features = datasets.Features(audio=datasets.Audio(), label=datasets.Value("string"))
    columns = {"audio": [{"bytes": path.read_bytes(), "path": None}] * 2, "label": ["a", "b"]}
    # By hand: the library itself encodes recordings only where it can decode them.
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=features.arrow_schema), tmp_path / "b.parquet")
    found = load_examples(Config(kind="sound", source=str(tmp_path / "b.parquet")))
    assert (found.sample_rate, len(found.train[0].content)) == (2000, 300)


@pytest.mark.parametrize("nested", [True, False])
def test_parallel_text_comes_from_columns_or_from_a_translation(tmp_path, nested):
    def sides(count, start):
        pairs = [(f"one {i} two", f"eins {i} zwei") for i in range(start, start + count)]
        return {"en": [a for a, _ in pairs], "de": [b for _, b in pairs]}

    for split, count, start in (("train", 40, 0), ("validation", 5, 100)):
        columns = sides(count, start)
        if nested:
            columns = {
                "translation": [dict(zip(columns, pair, strict=True)) for pair in zip(*columns.values(), strict=True)]
            }
        parquet(tmp_path / f"{split}-00000-of-00001.parquet", columns)
    data = prepare_parallel(ParallelDataConfig(folder=str(tmp_path), vocab_size=300))
    assert len(data.train) == 40
    assert data.held_out.targets == [f"eins {i} zwei" for i in range(100, 105)]
    with pytest.raises(ValueError, match="wanted a column, or an entry of `translation`, for en and fr"):
        read_pairs(ParallelDataConfig(folder=str(tmp_path), target="fr"), "train")
    (tmp_path / "validation-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match="has nothing that is called validation or val or test"):
        read_pairs(ParallelDataConfig(folder=str(tmp_path)), "val")


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(ValueError, match=r"a.parquet cannot be read as Parquet"):
        read_tables(str(tmp_path / "a.parquet"))


def test_the_hub_is_asked_for_its_splits(monkeypatch):
    splits = {
        name: datasets.Dataset.from_dict({"text": [f"{name} {i}" for i in range(6)], "label": ["a", "b"] * 3})
        for name in ("train", "test")
    }
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *names: asked.append(names) or splits)
    data = prepare_labelled(Config(source="hub:somebody/reviews:small"))
    assert (asked, len(data.train), len(data.test)) == ([("somebody/reviews", "small")], 6, 6)
    with pytest.raises(ValueError, match="wanted hub:OWNER/NAME"):
        read_tables("hub:reviews")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: {"dev": splits["test"]})
    with pytest.raises(ValueError, match="has the splits dev; wanted one called train"):
        read_tables("hub:somebody/reviews")
