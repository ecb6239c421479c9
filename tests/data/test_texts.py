"""Windows of texts: none is lost, none is shifted, and texts too short are refused."""

import pytest

from undula.data.texts import EnhancedTextDataset, TextDataset


class Bytes:
    def encode(self, text):
        return list(text.encode())


def windows(tokens, length, stride):
    """By definition: every start that leaves room for a window and the token after it."""
    found = []
    start = 0
    while start + length + 1 <= len(tokens):
        found.append((tokens[start : start + length], tokens[start + 1 : start + length + 1]))
        start += stride
    return found


@pytest.mark.parametrize("total", [9, 16, 17, 18, 40])
@pytest.mark.parametrize("stride", [1, 3, 8, 11])
def test_windows_are_all_that_fit(total, stride):
    text = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[:total]
    made = EnhancedTextDataset([text[:4], text[4:]], Bytes(), seq_length=8, stride=stride)
    assert [(x.tolist(), y.tolist()) for x, y in (made[i] for i in range(len(made)))] == windows(
        list(text.encode()), 8, stride
    )
    with pytest.raises(IndexError):
        made[len(made)]


@pytest.mark.parametrize("total", [9, 17, 40])
@pytest.mark.parametrize("stride", [3, 8, 11])
def test_statistics_count_what_is_predicted(total, stride):
    made = EnhancedTextDataset(["x" * total], Bytes(), seq_length=8, stride=stride)
    predicted = {t for i in range(len(made)) for t in range(i * stride + 1, i * stride + 9)}
    stats = made.get_dataset_stats()
    assert stats["tokens_dropped"] == total - 1 - len(predicted)
    assert stats["coverage"] == pytest.approx(len(predicted) / (total - 1))
    assert stats["overlap_ratio"] == pytest.approx(max(0, 1 - stride / 8))
    assert (stats["total_tokens"], stats["total_samples"]) == (total, len(made))


def test_text_dataset_skips_nothing_at_any_length():
    # A fixed stride of 256 with windows of 128 would leave out half of the text.
    stats = TextDataset(["x" * 1000], Bytes(), seq_length=128).get_dataset_stats()
    assert (stats["stride"], stats["overlap_ratio"]) == (64, 0.5)


def test_tokens_take_one_byte_where_they_fit():
    assert EnhancedTextDataset(["abcd" * 9], Bytes(), seq_length=8).tokens.dtype.itemsize == 1


def test_wrong_windows_are_reported_when_asked(caplog):
    class Unshifted(EnhancedTextDataset):
        def __getitem__(self, index):
            x, _ = super().__getitem__(index)
            return x, x

    EnhancedTextDataset(["abcdefgh" * 5], Bytes(), seq_length=8)
    assert caplog.text == ""
    Unshifted(["abcdefgh" * 5], Bytes(), seq_length=8)
    assert "window 3 is not the tokens from 24 on" in caplog.text


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="the texts have 3 tokens; one window of seq_length=8 needs 9"):
        EnhancedTextDataset(["abc"], Bytes(), seq_length=8)
    with pytest.raises(ValueError, match="stride=0; wanted at least 1"):
        EnhancedTextDataset(["abc" * 9], Bytes(), seq_length=8, stride=0)
    with pytest.raises(ValueError, match="the texts have 0 tokens"):
        EnhancedTextDataset([], Bytes(), seq_length=8)
