"""Planted passages are where they are said to be, and only what the search gets wrong is counted."""

import dataclasses

import numpy as np
import pytest

from undula.bench import leaks
from undula.bench.cases import LEAKS_CASES
from undula.bench.setting import BenchSetting

TINY = LEAKS_CASES["tiny"]


def test_passages_of_every_length_stand_in_both_texts_and_end_there():
    made = leaks.texts(TINY, clean=False)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], made.planted.view(np.int8), [0]))))
    train = made.train.tobytes()
    for length, start, stop in zip(range(TINY.shortest, TINY.longest + 1), edges[::2], edges[1::2], strict=True):
        assert stop - start == length
        assert made.held_out[start:stop].tobytes() in train
        assert made.held_out[start - 1 : stop].tobytes() not in train
        assert made.held_out[start : stop + 1].tobytes() not in train
    assert made.passages == TINY.longest - TINY.shortest + 1
    assert not leaks.texts(TINY, clean=True).planted.any()


def test_what_is_missed_and_what_is_false_is_counted(monkeypatch):
    setting = BenchSetting(repeats=1, warmup=0)
    planted, clean = leaks.bench_leaks("tiny", TINY, setting)
    assert planted.figures["planted"] == sum(range(TINY.shortest, TINY.longest + 1))
    for record in (planted, clean):
        assert record.figures["missed"] == record.figures["false"] == 0
        assert record.figures["peak_bytes"] > record.figures["token_bytes"] == 2 * (20_000 + 10_000)

    def wrong(train, held_out, length):
        found = np.zeros(len(held_out), dtype=bool)
        found[:1] = True
        return found

    monkeypatch.setattr(leaks, "covered_tokens", wrong)
    planted, clean = leaks.bench_leaks("tiny", TINY, setting)
    assert planted.figures["missed"] == planted.figures["planted"]
    assert clean.figures["false"] == 1


def test_texts_have_room_for_the_passages():
    with pytest.raises(ValueError, match="held_out_tokens=2000 leave no room"):
        leaks.bench_leaks("tiny", dataclasses.replace(TINY, held_out_tokens=2000), BenchSetting())
