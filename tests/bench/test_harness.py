"""Contestants take turns, warm-up does not count, and memory and error are measured as they are."""

import math

import pytest
import torch

from undula.bench.harness import (
    Contestant,
    Timing,
    interleaved,
    measuring,
    peak_memory,
    precision,
    relative_error,
    speedup,
)
from undula.bench.setting import BenchSetting
from undula.config import from_dict

MEGABYTE = 1 << 20


def test_contestants_take_turns_and_warm_up_does_not_count():
    log = []
    contestants = {
        "A": Contestant(lambda: log.append("a"), before=lambda: log.append("-")),
        "B": Contestant(lambda: log.append("b")),
    }
    timings = interleaved(contestants, BenchSetting(repeats=3, warmup=1))
    assert "".join(log) == "-ab-ab-ab-ab"
    assert {name: (len(t.wall), len(t.cpu)) for name, t in timings.items()} == {"A": (3, 3), "B": (3, 3)}


def test_what_comes_before_is_not_timed():
    timing = interleaved(
        {"A": Contestant(lambda: None, before=lambda: sum(range(3_000_000)))}, BenchSetting(repeats=1, warmup=0)
    )["A"]
    assert timing.cpu[0] < 0.01


def test_ratio_is_that_of_each_round():
    # The machine slows down threefold in the second round, for both: round by round the ratio stays 2.
    own, peer = Timing(wall=(1.0, 3.0, 1.0), cpu=(1.0,)), Timing(wall=(2.0, 6.0, 2.0), cpu=(1.0,))
    assert speedup(own, peer) == 2.0
    assert speedup(peer, own) == 0.5


def test_figures_of_a_timing():
    timing = Timing(wall=(4.0, 1.0, 2.0), cpu=(3.0, 1.0, 5.0))
    assert timing.figures() == {"seconds": 2.0, "seconds_least": 1.0, "seconds_most": 4.0, "cpu_seconds": 3.0}


def test_threads_are_set_for_a_while():
    before = torch.get_num_threads()
    with measuring(BenchSetting(threads=before + 1)) as device:
        assert (torch.get_num_threads(), device.type) == (before + 1, "cpu")
    assert torch.get_num_threads() == before


def test_missing_device_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="torch finds no GPU; take device=cpu"), measuring(BenchSetting(device="cuda")):
        pass


@pytest.mark.parametrize(("dtype", "wanted"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision_of_matrix_products(dtype, wanted):
    with precision(BenchSetting(dtype=dtype)):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == wanted


def allocate(megabytes, kept):
    """Prepare `kept` megabytes; the run takes `megabytes` more."""
    before = torch.ones(kept * MEGABYTE // 4)
    return lambda: (torch.ones(megabytes * MEGABYTE // 4), before)


def test_peak_is_what_the_run_adds():
    # Linux counts pages in batches, so a few kilobytes may be missing.
    assert 63 * MEGABYTE < peak_memory(allocate, 64, 200, setting=BenchSetting()) < 80 * MEGABYTE


def test_relative_error():
    exact = torch.tensor([3.0, 4.0, 0.0, 0.0], dtype=torch.float64)
    assert relative_error(exact.float() + torch.tensor([0, 0, 0.5, 0]), exact) == pytest.approx(0.5 / 2.5)
    assert relative_error(torch.full((4,), math.nan), exact) == math.inf


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"repeats": 0}, "repeats=0; wanted at least 1"),
        ({"device": "cdua"}, "did you mean 'cuda'"),
        ({"dtype": "f"}, "dtype"),
    ],
)
def test_bad_setting_is_said(values, said):
    with pytest.raises(ValueError, match=said):
        from_dict(BenchSetting, values)
