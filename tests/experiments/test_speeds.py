"""Speeds of a comparison: a run's phases count as long as they last."""

import dataclasses
import json

import pytest

from tests.training.tiny import tiny_config, write_text
from undula.bench.harness import Timing
from undula.bench.setting import BenchSetting
from undula.bench.train import StepFigures, StepPlan
from undula.experiments import speeds
from undula.experiments.speeds import measured_speeds, phases
from undula.models.config import BackboneConfig, CodecConfig, ModelConfig, SparsityConfig
from undula.training.config import CurriculumConfig

BACKBONE = BackboneConfig(d_model=24, num_layers=1, num_heads=2, d_ff=16, block="parallel")
MODEL = ModelConfig(family="wave", backbone=BACKBONE, codec=CodecConfig(d_model=8, num_heads=0, ordered=True))
SETTLED = dataclasses.replace(MODEL, sparsity=SparsityConfig(k_ratio=0.5, min_k=1, settles=True))


@pytest.fixture
def runs(tmp_path):
    text = write_text(tmp_path)
    curriculum = CurriculumConfig(share=0.5, start=0.2, mode="linear")
    limited = {way: dataclasses.replace(MODEL, freq_limit=way) for way in ("slice", "mask")}
    return {
        "plain": tiny_config(text, model=MODEL),
        "settled": tiny_config(text, model=SETTLED, settling=0.25),
        **{way: tiny_config(text, model=model, curriculum=curriculum, steps=1000) for way, model in limited.items()},
    }


def test_a_run_has_as_many_phases_as_its_steps_have_costs(runs):
    assert [(share, plan.settled) for share, plan in phases(runs["settled"])] == [(0.25, False), (0.75, True)]
    for name in ("plain", "mask"):
        ((share, plan),) = phases(runs[name])
        assert (share, plan.freq_limit, plan.settled) == (1.0, 1.0, False)
    sliced = phases(runs["slice"])
    # From a fifth to the whole in 500 steps: 31 steps until a quarter, 78 for each eighth, 500 steps of the whole.
    assert [plan.freq_limit for _, plan in sliced] == [n / 8 for n in range(2, 9)]
    assert [share for share, _ in sliced] == pytest.approx([0.032, *[0.078] * 5, 0.578], abs=1e-3)


def test_narrow_phases_are_really_narrow(runs):
    width = {}
    for name in ("plain", "settled", "slice"):
        model = phases(runs[name])[0 if name == "slice" else -1][1].build()
        present = None if model.reduction is None else model.reduction.present
        width[name] = 8 if present is None else len(present)
    assert width == {"plain": 8, "settled": 4, "slice": 2}


def test_a_mean_step_weighs_phases_by_their_shares(runs, tmp_path, monkeypatch):
    def measured(plans, setting):
        assert setting == BenchSetting()
        seconds = {name: (1.0, 2.0) if plan.settled else (3.0, 3.0) for name, plan in plans.items()}
        return {
            name: StepFigures(timing=Timing(wall=s, cpu=s), tokens_per_second=0.0, parameters=7, peak_bytes=int(s[0]))
            for name, s in seconds.items()
        }

    monkeypatch.setattr(speeds, "measure_steps", measured)
    named = [dataclasses.replace(runs[name], name=name) for name in ("plain", "settled")]
    found = measured_speeds(named, tmp_path / "out", BenchSetting(), "plain")
    # 0.25 x 3 + 0.75 x (1, 2) seconds.
    assert found["settled"]["seconds"] == pytest.approx((1.5 + 2.25) / 2)
    assert found["settled"]["ratio"] == pytest.approx((3 / 1.5 + 3 / 2.25) / 2)
    assert found["settled"]["tokens_per_second"] == pytest.approx(4 * 16 / 1.875)
    assert (found["settled"]["peak_bytes"], found["plain"]["ratio"]) == (3, 1.0)
    (file,) = (tmp_path / "out").iterdir()
    assert json.loads(file.read_text()) == found
    monkeypatch.setattr(speeds, "measure_steps", None)
    assert measured_speeds(named, tmp_path / "out", BenchSetting(), "plain") == found


def test_a_step_plan_is_of_the_whole_model_unless_told_otherwise():
    assert StepPlan(model=SETTLED, batch_size=1, block_size=4).build().reduction.present is None
