import json
import random
import string

import pytest

from tests.data.fineweb import web_texts, write_rows
from tests.data.outside import run_python
from undula.data import build
from undula.data.build import MANIFEST, default_cache_dir, evaluation_stream, is_whole, prepare
from undula.data.config import DataConfig
from undula.data.corpus import load_documents


@pytest.fixture
def source(tmp_path):
    rng = random.Random(0)
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i in range(40):
        words = ["".join(rng.choices(string.ascii_lowercase, k=5)) for _ in range(40)]
        (folder / f"{i:02}.txt").write_text(" ".join(words))
    return folder


def config_of(source, **options):
    return DataConfig(**{"source": str(source), "block_size": 32, "vocab_size": 300, **options})


def files_of(cache):
    return {p.relative_to(cache).as_posix(): p.read_bytes() for p in cache.rglob("*") if p.is_file()}


def text_of(prepared, stream):
    return prepared.tokenizer.decode(stream.tokens.tolist())


@pytest.fixture
def table(tmp_path):
    return write_rows(tmp_path / "table.parquet", web_texts(40))


@pytest.mark.parametrize("tokenizer", ["byte", "char", "bpe"])
def test_both_streams_hold_the_rows_of_a_file_once(table, tmp_path, tokenizer):
    prepared = prepare(config_of(table, tokenizer=tokenizer), tmp_path / "cache")
    sides = [text_of(prepared, s).split("<eos>") for s in (prepared.train, prepared.validation)]
    assert sorted(sides[0] + sides[1]) == sorted(web_texts(40))
    assert [len(side) for side in sides] == [36, 4]
    assert sorted(p.name for p in prepared.train.folder.iterdir()) == ["offsets.npy", "token_bytes.npy", "tokens.npy"]


def test_rows_and_files_with_one_text_have_their_own_places(table, tmp_path):
    (tmp_path / "folder").mkdir()
    for i, text in enumerate(web_texts(40)):
        (tmp_path / "folder" / f"{i:02}").write_text(text)
    rows, files, fewer = (
        prepare(config_of(source, **limit), tmp_path / "cache")
        for source, limit in ((table, {}), (tmp_path / "folder", {}), (table, {"max_bytes": 30_000}))
    )
    assert len({rows.fingerprint, files.fingerprint, fewer.fingerprint}) == 3
    assert fewer.train.byte_count() + fewer.validation.byte_count() == 25 * 1199
    assert prepare(config_of(table, max_bytes=10**9), tmp_path / "cache").fingerprint == rows.fingerprint


def test_evaluation_reads_rows(table, tmp_path):
    prepared = prepare(config_of(table), tmp_path / "cache")
    stream = evaluation_stream(str(table), prepared.tokenizer)
    assert text_of(prepared, stream).split("<eos>") == web_texts(40)


@pytest.mark.parametrize("tokenizer", ["byte", "char", "bpe"])
def test_both_streams_hold_the_corpus_once(source, tmp_path, tokenizer):
    prepared = prepare(config_of(source, tokenizer=tokenizer), tmp_path / "cache")
    sides = [text_of(prepared, s).split("<eos>") for s in (prepared.train, prepared.validation)]
    assert sorted(sides[0] + sides[1]) == sorted(load_documents(str(source)))
    assert [len(side) for side in sides] == [36, 4]
    assert prepared.vocab_size == {"byte": 257, "char": 27 + 2, "bpe": 300}[tokenizer]
    assert int(max(prepared.train.tokens.max(), prepared.validation.tokens.max())) < prepared.vocab_size
    assert prepared.train.byte_count() == sum(len(t.encode()) for t in sides[0])


def test_held_out_text_teaches_the_tokenizer_nothing(tmp_path):
    # Characters and a frequent word that occur in the tail alone.
    text = "plain words in the front of the text\n" * 90 + "Zyx9Zyx9" * 45
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.txt").write_text("plain words in the front of the text\n" * 90)
    tail = config_of(tmp_path / "a.txt", split="tail", tokenizer="bpe")
    learned = prepare(tail, tmp_path / "cache").tokenizer
    assert "Zyx" not in "".join(learned.get_vocab())
    letters = prepare(config_of(tmp_path / "b.txt", split="tail", tokenizer="char"), tmp_path / "cache").tokenizer
    assert letters.unk_token_id in letters("Zyx")["input_ids"]
    with pytest.raises(ValueError, match="characters are unknown to the tokenizer"):
        prepare(config_of(tmp_path / "a.txt", split="tail", tokenizer="char"), tmp_path / "cache")


def test_windows_of_the_two_sides_share_nothing(source, tmp_path):
    prepared = prepare(config_of(source), tmp_path / "cache")
    train = prepared.train_windows(seed=0, length=3000)
    seen = {train[i]["input_ids"].numpy().tobytes() for i in range(3000)}
    held_out = prepared.eval_windows()
    for i in range(len(held_out) - 1):
        assert held_out[i]["input_ids"].numpy().tobytes() not in seen


def test_the_second_call_reads_what_the_first_wrote(source, tmp_path, monkeypatch):
    first = prepare(config_of(source, tokenizer="bpe"), tmp_path / "cache")
    before = files_of(tmp_path / "cache")
    monkeypatch.setattr(build, "build_tokenizer", None)  # calling it would fail
    second = prepare(config_of(source, tokenizer="bpe", block_size=16, rest="dropped"), tmp_path / "cache")
    assert files_of(tmp_path / "cache") == before
    assert second.fingerprint == first.fingerprint
    assert second.train.tokens.tolist() == first.train.tokens.tolist()
    assert second.tokenizer("some text")["input_ids"] == first.tokenizer("some text")["input_ids"]
    assert second.tokenizer.pad_token_id == first.tokenizer.pad_token_id == 0


@pytest.mark.parametrize(
    "change",
    [{"tokenizer": "byte"}, {"vocab_size": 290}, {"split": "tail"}, {"val_fraction": 0.2}, {"split_seed": 1}],
)
def test_what_decides_the_tokens_decides_the_place_in_the_cache(source, tmp_path, change):
    base = {"tokenizer": "bpe"}
    first = prepare(config_of(source, **base), tmp_path / "cache")
    other = prepare(config_of(source, **{**base, **change}), tmp_path / "cache")
    assert first.fingerprint != other.fingerprint
    assert first.train.tokens.tolist() != other.train.tokens.tolist()


def test_changed_text_is_read_again(source, tmp_path):
    first = prepare(config_of(source), tmp_path / "cache")
    path = source / "00.txt"
    path.write_text(path.read_text()[:-1] + "!")
    second = prepare(config_of(source), tmp_path / "cache")
    assert second.fingerprint != first.fingerprint
    both = text_of(second, second.train) + text_of(second, second.validation)
    assert "!" in both


def test_borders_of_documents_are_part_of_the_fingerprint(tmp_path):
    for name, cut in (("a", 5), ("b", 6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0").write_text("x" * cut)
        (tmp_path / name / "1").write_text("x" * (4000 - cut))
    folders = [config_of(tmp_path / name, split="tail") for name in "ab"]
    first, second = (prepare(config, tmp_path / "cache") for config in folders)
    assert first.fingerprint != second.fingerprint


def damage_flip(folder):
    path = folder / "train" / "tokens.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def damage_cut(folder):
    path = folder / "validation" / "tokens.npy"
    path.write_bytes(path.read_bytes()[:-100])


def damage_remove(folder):
    (folder / "train" / "offsets.npy").unlink()


def damage_manifest(folder):
    path = folder / MANIFEST
    path.write_text(path.read_text()[:50])


def damage_no_manifest(folder):
    (folder / MANIFEST).unlink()


@pytest.mark.parametrize(
    "damage", [damage_flip, damage_cut, damage_remove, damage_manifest, damage_no_manifest], ids=lambda f: f.__name__
)
def test_a_damaged_cache_is_built_again(source, tmp_path, damage):
    cache = tmp_path / "cache"
    good = prepare(config_of(source), cache)
    before = files_of(cache)
    folder = cache / good.fingerprint
    wanted = good.train.tokens.tolist()
    del good
    damage(folder)
    assert not is_whole(folder)
    assert prepare(config_of(source), cache).train.tokens.tolist() == wanted
    assert is_whole(folder)
    assert files_of(cache) == before


def test_an_interrupted_build_leaves_nothing_that_is_used(source, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    real = build.encode_documents
    calls = []

    def full_disk_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(build, "encode_documents", full_disk_at_the_second)
    with pytest.raises(OSError, match="No space left"):
        prepare(config_of(source), cache)
    assert list(cache.iterdir()) == []
    monkeypatch.undo()
    prepare(config_of(source), cache)
    assert len(list(cache.iterdir())) == 1


def test_a_faster_process_is_believed(source, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    real = build.encode_documents
    others = []

    def overtaken(*arguments):
        if not others:
            others.append(None)
            others.append(prepare(config_of(source), cache))
        return real(*arguments)

    monkeypatch.setattr(build, "encode_documents", overtaken)
    mine = prepare(config_of(source), cache)
    assert mine.train.folder == others[1].train.folder
    assert [p.name for p in cache.iterdir()] == [mine.fingerprint]


def test_another_process_writes_the_same_bytes(source, tmp_path):
    code = """
import sys, pathlib
from undula.data.build import prepare
from undula.data.config import DataConfig
config = DataConfig(source=sys.argv[1], tokenizer="bpe", vocab_size=300, block_size=32)
prepare(config, pathlib.Path(sys.argv[2]))
"""
    run_python(code, source, tmp_path / "there")
    here = prepare(config_of(source, tokenizer="bpe"), tmp_path / "here")
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")
    assert json.loads((here.train.folder.parent / MANIFEST).read_text()).keys() == {
        "tokenizer.json",
        *(f"{side}/{name}.npy" for side in ("train", "validation") for name in ("tokens", "offsets", "token_bytes")),
    }


def test_windows_follow_the_config(source, tmp_path):
    padded = prepare(config_of(source, block_size=50), tmp_path / "cache")
    dropped = prepare(config_of(source, block_size=50, rest="dropped"), tmp_path / "cache")
    n = len(padded.validation)
    assert len(padded.eval_windows()) == -(-(n - 1) // 50)
    assert len(dropped.eval_windows()) == (n - 1) // 50
    train = padded.train_windows(seed=4, length=7)
    assert (len(train), train.seed, len(train[0]["input_ids"])) == (7, 4, 50)


def test_texts_shorter_than_a_window_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("too short\n" * 30)
    with pytest.raises(ValueError, match=r"the training text has 270 tokens; .* needs 513: give more text"):
        prepare(config_of(tmp_path / "a.txt", split="tail", block_size=512), tmp_path / "cache")
    with pytest.raises(ValueError, match=r"the held-out text has 30 tokens; .* need 65"):
        prepare(config_of(tmp_path / "a.txt", split="tail", block_size=64, rest="dropped"), tmp_path / "cache")
    with pytest.raises(ValueError, match="cannot hold out 10%"):
        prepare(config_of(tmp_path / "a.txt"), tmp_path / "cache")


def test_missing_source_writes_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        prepare(config_of(tmp_path / "absent"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_python_docs_is_ready_by_default(tmp_path):
    prepared = prepare(DataConfig(), tmp_path)
    total = prepared.train.byte_count() + prepared.validation.byte_count()
    assert total == sum(len(text.encode()) for text in load_documents("python-docs"))
    assert prepared.validation.byte_count() / total == pytest.approx(0.1, abs=0.005)


def test_evaluation_stream_is_the_whole_text(source, tmp_path):
    prepared = prepare(config_of(source, tokenizer="bpe"), tmp_path / "cache")
    prepared.tokenizer.save_pretrained(tmp_path / "model")
    text = "Some other text, 😀 with\r\nunseen characters.\n"
    (tmp_path / "other.txt").write_bytes(text.encode())
    loaded = type(prepared.tokenizer).from_pretrained(tmp_path / "model")
    stream = evaluation_stream(str(tmp_path / "other.txt"), loaded)
    assert text_of(prepared, stream) == text
    assert stream.byte_count() == len(text.encode())
    assert evaluation_stream(str(source), loaded).num_documents == 40


def test_evaluation_on_text_that_a_character_model_cannot_read_is_refused(source, tmp_path):
    prepared = prepare(config_of(source, tokenizer="char"), tmp_path / "cache")
    (tmp_path / "other.txt").write_text("中文字符" * 10)
    with pytest.raises(ValueError, match="40 of 40 characters are unknown"):
        evaluation_stream(str(tmp_path / "other.txt"), prepared.tokenizer)


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("UNDULA_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "own"
    monkeypatch.delenv("UNDULA_CACHE")
    assert default_cache_dir() == tmp_path / "xdg" / "undula"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "undula"
