import pickle
import random
import weakref

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from undula.data.corpus import load_documents
from undula.data.stream import EvalWindows, TokenStream, TrainWindows, encode_documents
from undula.data.tokenizers import bpe_tokenizer, byte_tokenizer, char_tokenizer, encoder_of


def stream_of(n, vocabulary=300):
    tokens = np.arange(n) % vocabulary
    sizes = np.ones(vocabulary, dtype=np.int64)
    return TokenStream(tokens.astype(np.uint16), np.asarray([0, n]), sizes)


DOCUMENTS = ["héllo 😀\n", "second <eos> text\r\n", "x"]


def test_documents_stand_in_a_row_with_borders_between():
    stream = encode_documents(DOCUMENTS, byte_tokenizer())
    rows = [list(text.encode()) for text in DOCUMENTS]
    assert stream.tokens.tolist() == [*rows[0], 256, *rows[1], 256, *rows[2]]
    assert stream.offsets.tolist() == [0, len(rows[0]) + 1, len(rows[0]) + len(rows[1]) + 2, len(stream)]
    assert stream.num_documents == 3


def test_tokens_are_counted():
    counts = stream_of(1001, vocabulary=10).counts()
    assert counts.tolist() == [101, *[100] * 9]
    assert stream_of(3, vocabulary=5).counts().tolist() == [1, 1, 1, 0, 0]


def test_one_document_has_no_border():
    assert encode_documents(["ab"], byte_tokenizer()).tokens.tolist() == [97, 98]


class Page(str):
    """A text that can be seen to be alive."""


@pytest.mark.parametrize("in_memory", [True, False])
def test_documents_are_let_go_as_they_are_encoded(tmp_path, in_memory):
    alive, most = weakref.WeakSet(), 0

    def pages():
        nonlocal most
        for i in range(2000):
            page = Page(f"page {i}")
            alive.add(page)
            most = max(most, len(alive))
            yield page

    stream = encode_documents(pages(), byte_tokenizer(), None if in_memory else tmp_path / "tokens")
    assert most < 300
    assert stream.num_documents == 2000
    assert (
        stream.tokens.tolist() == encode_documents([f"page {i}" for i in range(2000)], byte_tokenizer()).tokens.tolist()
    )
    assert isinstance(stream.tokens.base, bytes if in_memory else np.memmap)


def test_empty_documents_keep_their_borders():
    stream = encode_documents(["", "a", ""], byte_tokenizer())
    assert stream.tokens.tolist() == [256, 97, 256]
    assert stream.offsets.tolist() == [0, 1, 3, 3]


@pytest.mark.parametrize(("vocabulary", "dtype"), [(256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")])
def test_ids_take_the_smallest_type(vocabulary, dtype):
    letters = "".join(chr(c) for c in range(0x10000, 0x10000 + vocabulary - 2))
    stream = encode_documents([letters, "\U00010000"], char_tokenizer([letters]))
    assert stream.tokens.dtype == dtype
    assert stream.tokens.tolist() == [*range(vocabulary - 2), vocabulary - 2, 0]


@pytest.mark.parametrize("kind", ["byte", "char", "bpe"])
def test_bytes_are_counted_exactly(kind):
    documents = DOCUMENTS + load_documents("python-docs")[:5]
    make = {
        "byte": byte_tokenizer,
        "char": lambda: char_tokenizer(documents),
        "bpe": lambda: bpe_tokenizer(documents, 500),
    }
    stream = encode_documents(documents, make[kind]())
    assert stream.byte_count() == sum(len(text.encode()) for text in documents)
    for i, text in enumerate(documents):
        assert stream.byte_count(int(stream.offsets[i]), int(stream.offsets[i + 1])) == len(text.encode())


def test_encoding_in_parts_changes_no_token():
    rng = random.Random(0)
    text = "".join(
        rng.choice(["word", "wörd", "it's", "12", "!?", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\x1c"])
        for _ in range(20000)
    )
    tokenizer = bpe_tokenizer([text, *load_documents("python-docs")[:10]], 700)
    for long in (text, text.replace(" ", ""), "x" * 20000):
        assert encode_documents([long], tokenizer).tokens.tolist() == encoder_of(tokenizer).encode(long).ids


def test_a_few_unknown_characters_cost_bits_but_count_no_bytes():
    tokenizer = char_tokenizer(["abc"])
    stream = encode_documents(["abc" * 99 + "é"], tokenizer)
    assert len(stream) == 298
    assert int(stream.tokens[-1]) == tokenizer.unk_token_id
    assert stream.byte_count() == 297


def test_many_unknown_characters_are_refused():
    with pytest.raises(ValueError, match=r"4 of 8 characters are unknown .*\['é'\].*use tokenizer='byte'"):
        encode_documents(["abcéé", "éé"], char_tokenizer(["abc"]))


def test_a_tokenizer_that_changes_the_text_is_refused():
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer.add_prefix_space = True
    with pytest.raises(ValueError, match="stand for 4 bytes, the text has 3"):
        encode_documents(["abc"], tokenizer)


def test_saved_stream_is_memory_mapped_and_read_only(tmp_path):
    stream = encode_documents(DOCUMENTS, byte_tokenizer())
    stream.save(tmp_path / "s")
    loaded = TokenStream.load(tmp_path / "s")
    assert loaded.tokens.tolist() == stream.tokens.tolist()
    assert loaded.tokens.dtype == np.uint16
    assert loaded.offsets.tolist() == stream.offsets.tolist()
    assert loaded.byte_count() == stream.byte_count()
    assert isinstance(loaded.tokens.base, np.memmap)
    assert not loaded.tokens.flags.writeable


def test_pickling_sends_the_path_and_not_the_tokens(tmp_path):
    stream = stream_of(100_000)
    stream.save(tmp_path / "s")
    sent = pickle.dumps(TokenStream.load(tmp_path / "s"))
    assert len(sent) < 1000
    assert np.array_equal(pickle.loads(sent).tokens, stream.tokens)
    assert np.array_equal(pickle.loads(pickle.dumps(stream)).tokens, stream.tokens)


def test_train_windows_are_cut_from_the_stream_and_labels_shifted():
    stream = encode_documents(load_documents("python-docs")[:3], byte_tokenizer())
    windows = TrainWindows(stream, 16, seed=3, length=50)
    assert len(windows) == 50
    for i in range(50):
        start = windows.start(i)
        assert windows[i]["input_ids"].tolist() == stream.tokens[start : start + 16].tolist()
        assert windows[i]["shift_labels"].tolist() == stream.tokens[start + 1 : start + 17].tolist()
        assert windows[i]["input_ids"].dtype == windows[i]["shift_labels"].dtype == torch.int64


def test_train_windows_reach_every_start_evenly():
    windows = TrainWindows(stream_of(20), 10, seed=0, length=20_000)
    counts = np.bincount([windows.start(i) for i in range(20_000)])
    assert len(counts) == 10  # the last start still has the token after its window
    assert counts.min() > 1800
    assert counts.max() < 2200


def test_train_windows_depend_on_seed_and_index_alone():
    stream = stream_of(1000)
    first, second = (TrainWindows(stream, 16, seed=7, length=n) for n in (40, 9999))
    assert [first.start(i) for i in reversed(range(40))][::-1] == [second.start(i) for i in range(40)]
    other = TrainWindows(stream, 16, seed=8, length=40)
    assert sum(first.start(i) == other.start(i) for i in range(40)) < 5
    assert len({first.start(i) for i in range(40)}) > 30


def test_train_windows_are_pinned_to_these_starts():
    # A change here changes every training run that anybody has reported.
    windows = TrainWindows(stream_of(1_000_000), 64, seed=0, length=4)
    assert [windows.start(i) for i in range(4)] == [56462, 440055, 927835, 157863]


def test_workers_read_the_same_windows():
    windows = TrainWindows(stream_of(5000, vocabulary=5000), 32, seed=11, length=24)
    loader = DataLoader(windows, batch_size=4, num_workers=2)
    starts = [int(x) for batch in loader for x in batch["input_ids"][:, 0]]
    assert starts == [windows.start(i) for i in range(24)]


@pytest.mark.parametrize("block_size", [1, 7, 64, 99, 100, 999, 5000])
@pytest.mark.parametrize("n", [2, 64, 65, 66, 1000])
def test_eval_windows_predict_every_token_but_the_first_once(n, block_size):
    stream = stream_of(n, vocabulary=1000)
    windows = EvalWindows(stream, block_size)
    items = [windows[i] for i in range(len(windows))]
    batch = default_collate(items)
    assert batch["input_ids"].shape == batch["shift_labels"].shape == (len(windows), block_size)
    real = batch["shift_labels"] != -100
    assert batch["shift_labels"][real].tolist() == list(range(1, n))
    assert batch["input_ids"][real].tolist() == list(range(n - 1))
    assert windows.num_predicted == n - 1
    assert int(batch["input_ids"][~real].abs().sum()) == 0
    # Padding is on the right of the last window alone: a causal model never sees it.
    assert bool(real[:-1].all())
    assert bool((real[-1].int().diff() <= 0).all())


@pytest.mark.parametrize("block_size", [1, 7, 64, 999])
def test_eval_windows_can_drop_the_rest(block_size):
    stream = stream_of(1000, vocabulary=1000)
    windows = EvalWindows(stream, block_size, rest="dropped")
    assert len(windows) == 999 // block_size
    labels = torch.cat([windows[i]["shift_labels"] for i in range(len(windows))])
    assert labels.tolist() == list(range(1, 1 + len(windows) * block_size))
    assert windows.num_predicted == len(labels)


def test_the_usual_protocol_has_1742_windows():
    windows = EvalWindows(stream_of(111_540), 64, rest="dropped")
    assert len(windows) == 1742
    assert windows.num_predicted == 111_540 - 1 - 51
    assert len(EvalWindows(stream_of(111_540), 64)) == 1743


@pytest.mark.parametrize("rest", ["padded", "dropped"])
def test_predicted_bytes_are_those_of_the_labels(rest):
    text = "é😀abc\n" * 20
    windows = EvalWindows(encode_documents([text, "ü"], char_tokenizer([text, "ü"])), 8, rest=rest)
    letters = text[1:]
    covered = letters + "ü" if rest == "padded" else letters[: windows.num_predicted]
    assert windows.predicted_bytes == len(covered.encode())


def test_windows_end_where_they_end():
    for windows in (TrainWindows(stream_of(100), 10, seed=0, length=5), EvalWindows(stream_of(51), 10)):
        assert len(list(windows)) == 5
        for index in (-1, 5):
            with pytest.raises(IndexError, match=f"window {index} of 5"):
                windows[index]


def test_texts_shorter_than_a_window_are_refused():
    assert TrainWindows(stream_of(65), 64, seed=0, length=1).start(0) == 0
    with pytest.raises(ValueError, match=r"training text has 64 tokens; .* block_size=64 needs 65: give more text"):
        TrainWindows(stream_of(64), 64, seed=0, length=1)
    with pytest.raises(ValueError, match=r"held-out text has 64 tokens; .* rest='dropped' need 65: give more text"):
        EvalWindows(stream_of(64), 64, rest="dropped")
    with pytest.raises(ValueError, match="held-out text has 1 tokens"):
        EvalWindows(stream_of(1), 64)
