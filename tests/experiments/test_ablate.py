"""Ablations: effects with their spread, the documented results, curves, and what is resumed."""

import dataclasses
import json
import math

import pytest

from tests.experiments.test_compare import PLAN, config, made
from undula.bench.records import json_safe, read_records
from undula.experiments.ablate import RESULTS, Link, ablate, effects_of, packet_shares
from undula.models.config import ModelConfig, PacketConfig

LINKS = {
    "base": Link(parent=None, factor=""),
    "one": Link(parent="base", factor="attention"),
    "far": Link(parent="absent", factor="loss"),
}


@pytest.fixture(autouse=True)
def no_memory(monkeypatch):
    """Memory is measured in new processes, which takes seconds; the harness's own test does that."""
    monkeypatch.setattr("undula.bench.train.peak_memory", lambda *_, **__: 7)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [((-0.2, -0.21, -0.19), "helps"), ((0.2, 0.21, 0.19), "hurts"), ((-0.2, 0.25, 0.1), "not told apart")],
)
def test_effects_are_paired_over_seeds(gains, verdict):
    """Seeds differ by more than the factor; the pairs still tell."""
    cells = [made("base", seed, 2.0 + seed) for seed in range(3)]
    cells += [made("one", seed, 2.0 + seed + gain) for seed, gain in enumerate(gains)] + [made("far")]
    (effect,) = effects_of(cells, LINKS)
    assert (effect.experiment, effect.parent, effect.factor) == ("one", "base", "attention")
    assert effect.difference == pytest.approx(sum(gains) / 3)
    mean = sum(gains) / 3
    assert effect.spread == pytest.approx(math.sqrt(sum((g - mean) ** 2 for g in gains) / 2))
    assert effect.verdict == verdict


def test_one_seed_tells_nothing():
    (effect,) = effects_of([made("base"), made("one", loss=1.0)], LINKS)
    assert effect.difference == -1.0
    assert math.isnan(effect.spread)
    assert effect.verdict == "not told apart"


def test_results_curves_and_resume(text, tmp_path):
    configs = [config(text, "base", "attention"), config(text, "one", "short_conv")]
    out, plan = tmp_path / "out", dataclasses.replace(PLAN, baseline="base", seeds=1)
    found = ablate(configs, LINKS, out, plan, results=tmp_path / "results")
    results = json.loads((out / RESULTS).read_text())
    assert set(results) == {"base", "one"}
    for name, result in results.items():
        row = next(row for row in found.comparison.rows if row.model == name)
        assert {"val_loss", "perplexity", "speed", "time", "config"} <= result.keys()
        assert result["val_loss"] == row.loss
        assert result["perplexity"] == pytest.approx(math.exp(row.loss))
        assert result["time"] == pytest.approx(3 * 2 * 16 / result["speed"])
        assert result["config"]["name"] == name
    assert (results["base"]["effect"], results["one"]["effect"]["parent"]) == (None, "base")
    assert {path.name for path in found.files} == {
        RESULTS,
        "ablation_loss_curves.png",
        "ablation_comparison.png",
        "wave_ratio_progression.png",
    }
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in found.files[1:])
    (record,) = read_records(tmp_path / "results" / "ablation.jsonl")
    assert record.config["title"] == plan.title
    assert record.figures["effects"] == [json_safe(dataclasses.asdict(effect)) for effect in found.effects]
    records = (tmp_path / "results" / "compare.jsonl").read_text().count("compare cell")
    ablate(configs, LINKS, out, plan, results=tmp_path / "results")
    assert (tmp_path / "results" / "compare.jsonl").read_text().count("compare cell") == records


def test_shares_of_packets_follow_the_annealing(text):
    plain = config(text, "plain", "attention")
    packets = dataclasses.replace(plain, model=ModelConfig(family="wave_gpt"))
    annealed = dataclasses.replace(
        plain, model=ModelConfig(family="wave_gpt", packets=PacketConfig(annealed=True)), annealing_steps=2
    )
    table = dataclasses.replace(plain, model=ModelConfig(family="wave_gpt", packets=PacketConfig(num_waves=0)))
    assert [packet_shares(c) for c in (plain, table, packets, annealed)] == [
        [0.0] * 3,
        [0.0] * 3,
        [1.0] * 3,
        [0.0, 0.5, 1.0],
    ]
