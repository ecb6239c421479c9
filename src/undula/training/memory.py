"""How much memory a run holds, and whether it holds more and more."""

import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

STATM = Path("/proc/self/statm")
WARM_UP = 0.3
"""Share of the samples, from the first on, that say nothing: buffers are made and pools filled."""
FEWEST = 8
"""Samples after the warm-up that a verdict needs."""
GROWTH = 0.05
"""Share of the median that has to be gained over the run before growth is called a leak."""
MOST = 512
"""Samples that are kept; beyond, every second one goes and the steps between two are doubled."""


def memory_in_use(device: torch.device) -> int:
    """Return the bytes in use: on CUDA and MPS those of tensors, on the CPU what the process holds of the RAM.

    Where the system does not tell what a process holds, the most it ever held is returned instead.
    """
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def growth(steps: list[int], in_use: list[int]) -> dict[str, Any]:
    """Return the growth of memory after the warm-up: the median slope of all pairs of samples (Theil and Sen).

    `leak` is True when the slope, over the whole span, gains more than 5 % of the median; None when there are fewer
    than eight samples after the warm-up, which say nothing.
    """
    skip = int(WARM_UP * len(steps))
    x, y = np.array(steps[skip:], dtype=np.float64), np.array(in_use[skip:], dtype=np.float64)
    if len(x) < FEWEST or x[-1] == x[0]:
        return {"bytes_per_step": float("nan"), "leak": None}
    i, j = np.triu_indices(len(x), 1)
    apart = x[j] > x[i]
    slope = float(np.median((y[j] - y[i])[apart] / (x[j] - x[i])[apart]))
    return {"bytes_per_step": slope, "leak": bool(slope * (x[-1] - x[0]) > GROWTH * np.median(y))}


class MemoryTracker(TrainerCallback):
    """Takes a sample after a step, at most 512 of them, spread over the run.

    Args:
        device: whose memory is looked at.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.every = device, 1
        self.steps: list[int] = []
        self.in_use: list[int] = []

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take a sample when it is time."""
        if state.global_step % self.every:
            return
        self.steps.append(state.global_step)
        self.in_use.append(memory_in_use(self.device))
        if len(self.steps) >= MOST:
            self.every *= 2
            kept = [i for i, step in enumerate(self.steps) if step % self.every == 0]
            self.steps, self.in_use = [self.steps[i] for i in kept], [self.in_use[i] for i in kept]

    def stats(self) -> dict[str, Any]:
        """Return device, bytes at the start, at the end and at most, and their growth; None where nothing was seen."""
        seen = self.in_use
        return {
            "device": self.device.type,
            "first_bytes": seen[0] if seen else None,
            "last_bytes": seen[-1] if seen else None,
            "most_bytes": max(seen, default=None),
            **growth(self.steps, seen),
        }
