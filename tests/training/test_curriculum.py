"""The curriculum: the schedule by its formula, delays that count, and training that keeps the limit."""

import json
import math

import matplotlib.pyplot as plt
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from tests.training.tiny import tiny_config, tiny_trainer, write_text
from undula.hf.modeling import UndulaForCausalLM
from undula.models.config import BackboneConfig, CodecConfig, ModelConfig
from undula.training.config import CurriculumConfig
from undula.training.curriculum import Curriculum, FrequencyCurriculumScheduler

BACKBONE = BackboneConfig(d_model=24, num_layers=1, num_heads=2, d_ff=16, block="parallel")
LIMIT = "model.transformer.reduction.freq_limit"


def schedule(**changes):
    return FrequencyCurriculumScheduler(**{"total_steps": 1100, "warmup_steps": 100, "adaptive": False, **changes})


@pytest.mark.parametrize(
    ("mode", "at_quarter"),
    [
        ("linear", 0.1 + 0.25 * 0.8),
        ("exponential", 0.1 * 9**0.25),
        ("cosine", 0.1 + (1 - math.cos(math.pi / 4)) / 2 * 0.8),
    ],
)
def test_limits_follow_the_formula(mode, at_quarter):
    found = schedule(curriculum_mode=mode, end_freq_limit=0.9)
    steps = (0, 99, 100, 350, 1100, 5000)
    assert [found.get_freq_limit(step) for step in steps] == pytest.approx([0.1, 0.1, 0.1, at_quarter, 0.9, 0.9])


def test_a_stuck_curriculum_is_delayed_once_for_each_patience_and_stays_delayed():
    stuck = schedule(warmup_steps=0, total_steps=1000, curriculum_mode="linear", adaptive=True, patience=100)
    stuck.step(0, 3.0)
    assert stuck.step(99, 3.0)["freq_limit"] == schedule(
        warmup_steps=0, total_steps=1000, curriculum_mode="linear"
    ).get_freq_limit(99)
    assert stuck.step(100, 3.0)["freq_limit"] == pytest.approx(0.1 + 0.9 * 0.095)
    assert stuck.step(150, 3.0)["steps_since_improvement"] == 150
    stuck.step(200, 3.0)
    delay = 5 + 0.05 * 195
    assert stuck.get_freq_limit(600) == pytest.approx(0.1 + 0.9 * (600 - delay) / 1000)
    assert stuck.step(300, 2.0) == {
        "step": 300,
        "freq_limit": stuck.get_freq_limit(),
        "curriculum_progress": pytest.approx((300 - delay) / 1000),
        "steps_since_improvement": 0,
        "val_loss": 2.0,
        "best_val_loss": 2.0,
    }


def test_the_state_is_everything():
    one, other = schedule(adaptive=True, patience=50), FrequencyCurriculumScheduler(total_steps=7)
    for step in range(0, 500, 40):
        one.step(step, 1.0)
    other.load_state_dict(one.state_dict())
    assert [other.step(step, 1.0) for step in (520, 560)] == [one.step(step, 1.0) for step in (520, 560)]
    with pytest.raises(ValueError, match="delay"):
        other.load_state_dict({name: value for name, value in one.state_dict().items() if name != "delay"})


def test_the_picture_shows_the_schedule():
    figure = schedule().plot_schedule()
    line = figure.axes[0].lines[0]
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (0, 1100)
    assert line.get_ydata()[-1] == 1.0
    plt.close(figure)


def test_the_picture_is_saved_where_it_is_told(tmp_path):
    path = tmp_path / "schedule.png"
    schedule(warmup_steps=100).plot_schedule(str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_freq_limit": 0.0}, "start_freq_limit=0.0"),
        ({"end_freq_limit": 1.2}, "end_freq_limit=1.2"),
        ({"warmup_steps": 1100}, "warmup_steps=1100"),
        ({"curriculum_mode": "cosin"}, "cosine"),
        ({"patience": 0}, "patience=0"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        schedule(**changes)


def limited(limit):
    return ModelConfig(
        family="wave", backbone=BACKBONE, codec=CodecConfig(num_heads=2, ordered=limit == "slice"), freq_limit=limit
    )


@pytest.mark.parametrize("limit", ["mask", "slice"])
def test_the_limit_is_in_checkpoints_and_a_resumed_run_goes_on_bit_for_bit(tmp_path, limit):
    config = tiny_config(
        write_text(tmp_path),
        model=limited(limit),
        curriculum=CurriculumConfig(share=20 / 24, start=0.2, mode="linear", adaptive=True, patience=2),
        keep_checkpoints=9,
        eval_every=4,
    )
    whole = tiny_trainer(config, tmp_path / "run")
    whole.train()
    folder = tmp_path / "run" / "checkpoints" / "step-12"
    kept = load_file(folder / "model.safetensors")[LIMIT].item()
    assert 0.2 < kept < 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "loss" in line]
    assert lines[0]["freq_limit"] == pytest.approx(0.2)
    assert lines[-1]["freq_limit"] == pytest.approx(whole.model.model.reduction.freq_limit.item())
    present = UndulaForCausalLM.from_pretrained(folder).model.reduction.present
    assert (None if present is None else present.tolist()) == (None if limit == "mask" else [0, 1, 2, 3, 4, 5])
    resumed = tiny_trainer(config, tmp_path / "again")
    resumed.train(resume_from_checkpoint=str(folder))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": limited("mask")}, "curriculum.share=0.0, and the model has a freq_limit"),
        ({"curriculum": CurriculumConfig(share=0.5)}, "curriculum.share=0.5, and the model has no freq_limit"),
        ({"curriculum": CurriculumConfig(share=1.5)}, "curriculum.share=1.5"),
    ],
)
def test_schedule_and_model_must_agree(tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(tmp_path, **more)


def test_a_resumed_curriculum_remembers_the_scores_so_far(tmp_path):
    args, control = TrainingArguments(output_dir=str(tmp_path)), TrainerControl()
    config = CurriculumConfig(share=1.0, mode="linear", adaptive=True, patience=10)
    heard, resumed = Curriculum(config, 100), Curriculum(config, 100)
    scores = [(10, 3.0), (20, 3.0), (30, 2.9), (40, 3.1), (50, 3.0)]
    for step, loss in scores:
        heard.on_evaluate(args, TrainerState(global_step=step), control, metrics={"eval_loss": loss})
    log = [{"step": step, "eval_loss": loss} for step, loss in scores] + [{"step": 50, "loss": 1.0}]
    resumed.on_train_begin(args, TrainerState(log_history=log), control, model=nn.Module())
    assert heard.schedule.delay > 0
    assert resumed.schedule.state_dict() == heard.schedule.state_dict()
