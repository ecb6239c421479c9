"""Growth that goes on is a leak; filling up at the start, noise and single peaks are none."""

import math

import numpy as np
import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from undula.allocator import release_free_memory
from undula.training.memory import MemoryTracker, growth, memory_in_use

STEPS = list(range(1, 101))
NOISE = np.random.default_rng(0).normal(0, 0.01, 100)


@pytest.mark.parametrize(
    ("curve", "leak"),
    [
        (1e9 * (1 + 0.01 * np.arange(100) + NOISE), True),
        (1e9 * (1 + NOISE), False),
        (1e9 * np.minimum(1, np.arange(100) / 25), False),
        # Pools that fill, and noise: with the first 30 % counted this is a leak.
        (1e9 * (np.minimum(1, 0.5 + np.arange(100) / 60) + NOISE), False),
        (1e9 * np.where(np.arange(100) % 10 == 9, 5, 1), False),
        (1e9 * (2 - 0.01 * np.arange(100)), False),
    ],
)
def test_only_growth_that_goes_on_is_a_leak(curve, leak):
    assert growth(STEPS, [int(v) for v in curve])["leak"] is leak


def test_the_slope_is_that_of_the_leak():
    assert growth(STEPS, [10**6 + 4096 * s for s in STEPS])["bytes_per_step"] == pytest.approx(4096)


def test_of_a_few_samples_nothing_is_said():
    found = growth([1, 2, 3], [1, 2, 3])
    assert found["leak"] is None
    assert math.isnan(found["bytes_per_step"])


def test_memory_that_is_held_is_seen():
    # Else the tensor may lie where earlier tests left a hole, which counts already.
    release_free_memory()
    before = memory_in_use(torch.device("cpu"))
    held = torch.ones(1 << 24)
    assert memory_in_use(torch.device("cpu")) - before > 0.9 * held.nbytes


def test_samples_are_spread_over_a_long_run(tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path))
    state = TrainerState()
    tracker = MemoryTracker(torch.device("cpu"))
    for step in range(1, 2001):
        state.global_step = step
        tracker.on_step_end(arguments, state, TrainerControl())
    assert 256 <= len(tracker.steps) < 512
    assert tracker.steps[-1] == 2000
    assert np.diff(tracker.steps).tolist() == [tracker.every] * (len(tracker.steps) - 1)
