"""Shared passages: all that are planted, none that is not, also when hashes collide."""

import numpy as np
import pytest

from undula.validation import passages
from undula.validation.passages import covered_tokens, longest_run


def by_definition(train, held_out, length):
    """A token is covered when one of the windows over it is among all windows of training."""
    known = {tuple(train[i : i + length]) for i in range(len(train) - length + 1)}
    covered = np.zeros(len(held_out), dtype=bool)
    for i in range(len(held_out) - length + 1):
        if tuple(held_out[i : i + length]) in known:
            covered[i : i + length] = True
    return covered


def random_row(seed, length, most=200):
    return np.random.default_rng(seed).integers(0, most, length).astype(np.uint8)


@pytest.mark.parametrize("length", [32, 33, 37, 48, 64, 100, 255, 400])
@pytest.mark.parametrize("where", [0, 311, 600])
def test_a_planted_passage_of_any_length_is_covered_and_nothing_else(length, where):
    train, clean = random_row(0, 3000), random_row(1, 1000)
    held_out = np.concatenate([clean[:where], train[1234 : 1234 + length], clean[where:]])
    covered = covered_tokens(train, held_out)
    expected = np.zeros(len(held_out), dtype=bool)
    expected[where : where + length] = True
    # A neighbour may agree by chance.
    assert covered[expected].all()
    assert np.array_equal(covered, by_definition(train, held_out, 32))
    assert length <= longest_run(covered) <= length + 2


def test_one_token_less_is_no_passage():
    train, held_out = random_row(0, 3000), random_row(1, 1000)
    held_out[100:131] = train[500:531]
    held_out[99], held_out[131] = train[499] + 1, train[531] + 1
    assert not covered_tokens(train, held_out).any()
    assert covered_tokens(train, held_out, 31).sum() == 31


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("bits", [64, 3, 0])
def test_few_letters_and_colliding_hashes_change_nothing(length, bits):
    train, held_out = random_row(2, 400, most=4), random_row(3, 300, most=4)
    covered = covered_tokens(train, held_out, length, bits=bits)
    assert np.array_equal(covered, by_definition(train, held_out, length))


def test_blocks_and_chunks_join_without_a_seam(monkeypatch):
    train, held_out = random_row(4, 5000, most=3), random_row(5, 900, most=3)
    held_out[437:500] = train[2999:3062]
    expected = covered_tokens(train, held_out)
    monkeypatch.setattr(passages, "CHUNK", 101)
    monkeypatch.setattr(passages, "BLOCK", 64)
    assert expected[437:500].all()
    assert np.array_equal(covered_tokens(train, held_out), expected)


def test_ids_beyond_the_table_and_of_other_types():
    train = np.random.default_rng(0).integers(0, 1 << 20, 2000)
    held_out = np.random.default_rng(1).integers(0, 1 << 20, 500).astype(np.uint32)
    held_out[100:140] = train[700:740]
    # The same low halves of the ids are not the same ids.
    held_out[300:340] = (train[300:340] + (1 << 16)) % (1 << 20)
    assert np.flatnonzero(covered_tokens(train, held_out)).tolist() == list(range(100, 140))


def test_no_passage_crosses_a_border():
    train, held_out = random_row(0, 3000), random_row(1, 200)
    held_out[80:120] = train[500:540]
    assert covered_tokens(train, held_out).sum() == 40
    assert not covered_tokens(train, held_out, borders=np.array([0, 100])).any()
    assert covered_tokens(train, held_out, borders=np.array([0, 112])).sum() == 32


def test_texts_shorter_than_a_passage_are_refused():
    with pytest.raises(ValueError, match="the held-out text has 20 tokens; wanted at least length=32"):
        covered_tokens(random_row(0, 100), random_row(1, 20))
    with pytest.raises(ValueError, match="the training text has 20"):
        covered_tokens(random_row(0, 20), random_row(1, 100))
    with pytest.raises(ValueError, match="length=0"):
        covered_tokens(random_row(0, 20), random_row(1, 100), 0)
