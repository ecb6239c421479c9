"""Trackers: what they are sent, and where it stays."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.tiny import tiny_config, tiny_trainer, write_text
from undula.training.records import read_lines


def test_tensorboard_gets_the_metrics_into_the_runs_folder(tmp_path):
    """By default they lie where checkpoints are built, and are cleared away with it."""
    folder = tmp_path / "run"
    tiny_trainer(tiny_config(write_text(tmp_path), trackers=("tensorboard",)), folder).train()
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    lines = [line for line in read_lines(folder / "metrics.jsonl") if "loss" in line]
    logged = events.Scalars("train/loss")
    assert [event.step for event in logged] == [line["step"] for line in lines]
    assert [event.value for event in logged] == pytest.approx([line["loss"] for line in lines], rel=1e-3)
    assert "eval/bits_per_byte" in events.Tags()["scalars"]
