"""Every library that is measured makes the same round trip, and ours is measured whatever else is installed."""

import pytest
import torch

from undula.bench import wavelet
from undula.bench.cases import WAVELET_CASES
from undula.bench.records import append_records
from undula.bench.setting import BenchSetting
from undula.bench.table import results_table

QUICK = BenchSetting(repeats=1, warmup=0)


def test_a_record_for_each_library_that_is_there(tmp_path):
    records = wavelet.bench_wavelet("tiny", WAVELET_CASES["tiny"], QUICK, memory=False)
    models = [r.config["model"] for r in records]
    assert models[0] == "undula"
    assert sorted(models + records[0].config["missing"]) == sorted(wavelet.LIBRARIES)
    for record in records:
        assert record.figures["error"] < 2e-6
        assert (record.figures["backward"] is None) == (record.config["model"] == "PyWavelets")
    assert records[0].figures["forward"]["ratio"] == 1.0
    named = [r.__class__(**{**vars(r), "config": {**r.config, "case": "shown"}, "commit": None}) for r in records]
    append_records(tmp_path / "wavelet.jsonl", named)
    table = results_table(tmp_path, ["wavelet"]).strip().splitlines()
    assert table[0].startswith("**Wavelets** (2, 3, 64), db4, 2 levels, zero; ")
    assert len(table) == 4 + len(records)
    assert table[4].startswith("| undula |")


def test_a_library_that_is_missing_is_named(monkeypatch):
    def gone(name):
        raise ImportError(name)

    monkeypatch.setattr(wavelet, "late_import", gone)
    records = wavelet.bench_wavelet("tiny", WAVELET_CASES["tiny"], QUICK, memory=False)
    assert [r.config["model"] for r in records] == ["undula", "PyWavelets"]
    assert records[0].config["missing"] == ["ptwt", "pytorch-wavelets"]


def test_the_gradient_is_that_of_the_signal():
    """There and back is the identity, so the gradient is what comes in."""
    case = WAVELET_CASES["tiny"]
    x = torch.randn(2, 3, 64)
    run = wavelet._backward(wavelet.ours(case, torch.device("cpu")), x)
    torch.testing.assert_close(run(), x.flip(-1), rtol=0, atol=1e-5)


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="dtype='bfloat16'; wavelets are measured in float32"):
        wavelet.bench_wavelet("tiny", WAVELET_CASES["tiny"], BenchSetting(dtype="bfloat16"))
