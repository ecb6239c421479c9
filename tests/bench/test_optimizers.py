"""What is timed are the optimizers that their names say, a refresh in each round, on the same gradients."""

import pytest
import torch

from undula.bench.cases import OPTIMIZER_CASES
from undula.bench.optimizers import LR, PEER, SUBJECTS, BySVD, _model, bench_optimizers
from undula.bench.setting import BenchSetting
from undula.optim.config import OptimConfig
from undula.optim.wave_native import WaveNativeOptimizer

CASE = OPTIMIZER_CASES["tiny"]
CPU = torch.device("cpu")


def test_every_optimizer_has_a_record():
    records = {r.config["model"]: r for r in bench_optimizers("tiny", CASE, BenchSetting(repeats=1, warmup=0))}
    assert set(records) == set(SUBJECTS)
    assert all(record.what == "optimizers" for record in records.values())
    assert records[PEER].figures["ratio"] == 1.0
    numbers = records[PEER].figures["parameters"]
    assert numbers == sum(p.numel() for p in _model(CASE, CPU).parameters())
    assert records["WaveNative by SVD"].figures["state_bytes"] == 4 * numbers
    assert 8 * numbers <= records["AdamW foreach"].figures["state_bytes"] < 8.1 * numbers


def test_a_round_holds_a_refresh():
    for name, subject in SUBJECTS.items():
        optimizer = subject.build(_model(CASE, CPU))
        refresh = optimizer.param_groups[0]["refresh"] if isinstance(optimizer, WaveNativeOptimizer) else 1
        assert subject.steps == refresh, name
    assert SUBJECTS["WaveNative"].steps == OptimConfig().wave_native.refresh


def test_the_slow_way_moves_parameters_as_the_fast_one_does():
    slow, fast = _model(CASE, CPU), _model(CASE, CPU)
    optimizers = BySVD(slow), WaveNativeOptimizer(fast.parameters(), lr=LR, weight_decay=0.0)
    before = [p.detach().clone() for p in slow.parameters()]
    for optimizer in optimizers:
        for _ in range(3):
            optimizer.step()
    for start, a, b in zip(before, slow.parameters(), fast.parameters(), strict=True):
        moved = (a - start).abs().max().item()
        assert moved > 0
        torch.testing.assert_close(a, b, atol=1e-3 * moved + 1e-7, rtol=0)
    with pytest.raises(ValueError, match="lr=-1"):
        WaveNativeOptimizer(fast.parameters(), lr=-1.0)
