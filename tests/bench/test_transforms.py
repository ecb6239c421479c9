"""Both ways are timed on the same signals, and an inexact one shows."""

import pytest
import torch

from undula.bench import transforms
from undula.bench.cases import TRANSFORMS_CASES
from undula.bench.setting import BenchSetting
from undula.ops import dft, fft

SETTING = BenchSetting(repeats=1, warmup=0)


def test_both_ways_have_a_record_for_each_length():
    records = transforms.bench_transforms("tiny", TRANSFORMS_CASES["tiny"], SETTING)
    ways = ["torch.fft", "matrix products"]
    assert [(r.config["points"], r.config["model"]) for r in records] == [(n, way) for n in (16, 60) for way in ways]
    assert all(r.figures["error"] < 1e-5 for r in records)
    assert [r.figures["ratio"] for r in records[::2]] == [1.0, 1.0]


@pytest.mark.parametrize("way", ["torch.fft", "matrix products"])
def test_the_way_that_is_named_is_the_one_that_runs(monkeypatch, way):
    called = []
    plain = dft.rfft
    monkeypatch.setattr(dft, "rfft", lambda x, n: called.append(n) or plain(x, n))
    transforms._there_and_back(torch.randn(3, 16), way)()
    assert called == ([16] if way == "matrix products" else [])


def test_an_inexact_transform_shows(monkeypatch):
    plain = fft.dft.rfft
    monkeypatch.setattr(fft.dft, "rfft", lambda x, n: plain(x, n) * 1.001)
    assert transforms._error(torch.randn(3, 16), "matrix products") > 5e-4
