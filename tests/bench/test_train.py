"""Train steps are train steps: of all models alike, on the same tokens, with an optimizer that moves them."""

import pytest
import torch

from undula.bench.cases import TRAIN_CASES
from undula.bench.setting import BenchSetting
from undula.bench.train import StepPlan, _batches, bench_train, train_step
from undula.optim.config import OptimConfig

SETTING = BenchSetting(repeats=2, warmup=0)
CASE = TRAIN_CASES["tiny"]


def plan(peer=None, **changes):
    return StepPlan(model=CASE.models["attention"], peer=peer, batch_size=4, block_size=16, **changes)


def test_records_of_all_models():
    records = bench_train("tiny", CASE, SETTING, memory=False)
    assert [record.config["model"] for record in records] == ["x-transformers", "attention", "fft_conv"]
    for record in records:
        figures = record.figures
        assert record.what == "train"
        assert figures["tokens_per_second"] == pytest.approx(2 * 32 / figures["seconds"])
        assert figures["peak_bytes"] is None
    assert records[0].figures["ratio"] == 1.0
    assert "x-transformers" in records[0].versions


@pytest.mark.parametrize("peer", [None, "x-transformers", "transformers Llama"])
def test_steps_learn(peer):
    asked = plan(peer, optim=OptimConfig(learning_rate=1e-2))
    model, tokens = asked.build(), _batches(asked, torch.device("cpu"))[0]

    def loss():
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(
                model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()
            ).item()

    before, step = loss(), train_step(asked, model, SETTING)
    for _ in range(40):
        step()
    assert loss() < before - 0.5
    assert all(p.grad is None for p in model.parameters())


def test_models_of_one_size_see_the_same_tokens():
    ours, theirs = (_batches(plan(peer), torch.device("cpu")) for peer in (None, "x-transformers"))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not torch.equal(ours[0], ours[1])
