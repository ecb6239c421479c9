"""Pairs of sentences: read, encoded, batched by length; and what is wrong with files."""

import gzip

import pytest
import torch
from transformers import AutoTokenizer

from tests import parallel as small
from undula.data.config import ParallelDataConfig
from undula.data.parallel import TrainPairs, collated, encoded, prepare_parallel, read_pairs


@pytest.fixture
def config(tmp_path):
    return ParallelDataConfig(folder=str(small.write(tmp_path / "pairs")), vocab_size=300)


def test_every_line_becomes_tokens_and_back(config, tmp_path):
    parallel = prepare_parallel(config)
    tokenizer = parallel.tokenizer
    assert [tokenizer.convert_ids_to_tokens(i) for i in range(3)] == ["<pad>", "<bos>", "<eos>"]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.padding_side == "right"
    for pair, lines in ((parallel.train, small.lines(60)), (parallel.held_out.pairs, small.lines(10, 1000))):
        for side in (0, 1):
            assert [tokenizer.decode(p[side], skip_special_tokens=True) for p in pair] == lines[side]
            assert all(p[side][-1] == 2 and 2 not in p[side][:-1] for p in pair)
    assert parallel.held_out.targets == small.lines(10, 1000)[1]
    tokenizer.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert encoded(again, ["<eos> two"], ["<pad> zwei"]) == encoded(tokenizer, ["<eos> two"], ["<pad> zwei"])
    assert again.padding_side == "right"


def test_the_tokenizer_knows_both_languages_and_nothing_held_out(config, tmp_path):
    vocabulary = prepare_parallel(config).tokenizer.get_vocab()
    assert len(vocabulary) == 300
    assert {"Ġseven", "zwei"} <= vocabulary.keys()
    folder = small.write(tmp_path / "other")
    for language in ("en", "de"):
        (folder / f"val.{language}").write_text("zebrazebra zebrazebra\n" * 50)
    other = prepare_parallel(ParallelDataConfig(folder=str(folder), vocab_size=300))
    assert other.tokenizer.get_vocab() == vocabulary


def test_the_saved_tokenizer_ends_sentences_as_training_does(config, tmp_path):
    parallel = prepare_parallel(config)
    parallel.tokenizer.save_pretrained(tmp_path / "tokenizer")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    texts = ["one two", "nine"]
    (first, _), (second, _) = encoded(loaded, texts, texts)
    assert loaded(texts).input_ids == [first, second]
    assert loaded(text_target=texts).input_ids == [first, second]
    assert first[-1] == loaded.eos_token_id
    assert loaded.batch_decode([first, second], skip_special_tokens=True) == texts


def test_fingerprints_tell_data_apart(config, tmp_path):
    same = ParallelDataConfig(folder=str(small.write(tmp_path / "copy")), vocab_size=300)
    assert prepare_parallel(same).fingerprint == prepare_parallel(config).fingerprint
    more = ParallelDataConfig(folder=str(small.write(tmp_path / "more", train=61)), vocab_size=300)
    assert prepare_parallel(more).fingerprint != prepare_parallel(config).fingerprint


def test_a_batch_is_padded_and_shifted():
    batch = collated([([5, 6, 2], [7, 2]), ([8, 2], [9, 10, 11, 2])])
    assert batch["input_ids"].tolist() == [[5, 6, 2], [8, 2, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["decoder_input_ids"].tolist() == [[1, 7, 0, 0], [1, 9, 10, 11]]
    assert batch["labels"].tolist() == [[7, 2, -100, -100], [9, 10, 11, 2]]


def test_an_epoch_has_each_pair_once_in_batches_of_like_length():
    pairs = [([3] * (1 + i % 17), [i]) for i in range(103)]
    items = TrainPairs(pairs, 10, seed=0, length=1000)
    drawn = [items[i] for i in range(300)]
    for epoch in range(3):
        seen = [pair[1][0] for pair in drawn[100 * epoch : 100 * epoch + 100]]
        assert len(set(seen)) == 100
    lengths = torch.tensor([len(pair[0]) for pair in drawn]).view(-1, 10)
    assert (lengths.amax(1) - lengths.amin(1)).float().mean() < 5
    assert lengths.float().mean(1).std() > 3
    assert drawn[:100] != drawn[100:200]


def test_items_depend_on_seed_and_place_alone():
    pairs = [([3] * (1 + i % 7), [i]) for i in range(50)]
    one, other = (TrainPairs(pairs, 8, seed=1, length=200) for _ in range(2))
    backwards = [other[i] for i in reversed(range(200))]
    assert [one[i] for i in range(200)] == backwards[::-1]
    assert [TrainPairs(pairs, 8, seed=2, length=200)[i] for i in range(48)] != [one[i] for i in range(48)]
    with pytest.raises(IndexError, match="pair 200 of 200"):
        one[200]


def test_pairs_that_are_too_long_or_empty_are_left_out(config, tmp_path, caplog):
    folder = small.write(tmp_path / "long", train=20)
    for language in ("en", "de"):
        text = gzip.decompress((folder / f"train.{language}.gz").read_bytes()).decode() + "one " * 90 + "\n"
        (folder / f"train.{language}").write_text(text + ("\n" if language == "en" else "zwei\n"))
    parallel = prepare_parallel(ParallelDataConfig(folder=str(folder), vocab_size=300))
    assert len(parallel.train) == 20
    assert "left out 1 of 21 pairs, longer than 80 tokens" in caplog.text
    assert len(read_pairs(ParallelDataConfig(folder=str(folder)), "train")[0]) == 21


def test_what_is_wrong_with_files_is_said(config, tmp_path):
    folder = small.write(tmp_path / "bad")
    here = ParallelDataConfig(folder=str(folder), vocab_size=300)
    (folder / "val.de").write_text("eins\n")
    with pytest.raises(ValueError, match=r"val.en has 10 lines, .*val.de has 1; wanted one translation for each line"):
        prepare_parallel(here)
    (folder / "val.de").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ValueError, match=r"val.de is not UTF-8 text \(byte at 0\)"):
        prepare_parallel(here)
    for language in ("en", "de"):
        (folder / f"val.{language}").write_text("\n\n")
    with pytest.raises(ValueError, match="hold no pair of lines"):
        prepare_parallel(here)
    (folder / "val.de").unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*val.de, nor val.de.gz there; data.folder names the folder"):
        prepare_parallel(here)
    with pytest.raises(ValueError, match="max_tokens=2 leaves no pair to train on"):
        prepare_parallel(ParallelDataConfig(folder=config.folder, vocab_size=300, max_tokens=2))
    with pytest.raises(ValueError, match="batch_size=9, and there are 3 pairs"):
        TrainPairs([([3], [4])] * 3, 9, seed=0, length=9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "de", "target": "de"}, "source and target are both 'de'"),
        ({"vocab_size": 258}, "vocab_size=258; bytes and three special ids need at least 259"),
        ({"max_tokens": 1}, "max_tokens=1; wanted at least 2"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        ParallelDataConfig(**values)
