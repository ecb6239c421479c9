"""Learning curves of several runs, each perhaps over several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from undula.viz.style import COLOURS, grid_of_axes, styled

Curve = tuple[ArrayLike, ArrayLike]
"""Steps and the value at each of them."""


@dataclass(frozen=True, kw_only=True)
class Learning:
    """What one run measured while it learned: one curve for each seed."""

    label: str
    train: Sequence[Curve] = field(default=())
    held_out: Sequence[Curve] = field(default=())


@styled
def learning_curves(runs: Sequence[Learning], quantity: str = "Bits per byte") -> Figure:
    """Draw value over step: on the left of training batches, smoothed, on the right on held-out data.

    Lines are means over seeds, bands reach from the least to the greatest seed. The lowest value that a mean reaches is
    written in the legend. The vertical axes agree; the steep start may lie above them.

    Args:
        runs: what to compare; the order gives the colours.
        quantity: what the values are, with their unit.

    Raises:
        ValueError: when a curve has not one value for each step, or no run has a curve.
    """
    _check(runs)
    parts = [p for p in ("train", "held_out") if any(getattr(run, p) for run in runs)]
    figure, axes = grid_of_axes(1, len(parts), 4.2)
    titles = {"train": "Training batches (smoothed)", "held_out": "Held-out data"}
    shown: list[np.ndarray] = []
    for ax, part in zip(axes[0], parts, strict=True):
        for i, run in enumerate(runs):
            if getattr(run, part):
                shown.append(_draw(ax, getattr(run, part), run.label, COLOURS[i % len(COLOURS)], part == "train"))
        ax.set(title=titles[part], xlabel="Step", ylabel=quantity)
        ax.margins(x=0.01)
        ax.legend(loc="upper right", fontsize=10)
    low, high = _limits(shown)
    for ax in axes[0]:
        ax.set_ylim(low, high)
    return figure


def _check(runs: Sequence[Learning]) -> None:
    curves = [(run.label, curve) for run in runs for curve in (*run.train, *run.held_out)]
    if not curves:
        raise ValueError("no run has a curve; give at least one with steps and values")
    for label, curve in curves:
        steps, values = (np.size(x) for x in curve)
        if steps != values or not steps:
            raise ValueError(f"a curve of {label!r} has {steps} steps and {values} values; give one value per step")


def _draw(ax: Axes, curves: Sequence[Curve], label: str, colour: str, smooth: bool) -> np.ndarray:
    """Draw one run and return its mean curve, steps and values."""
    steps = np.unique(np.concatenate([np.asarray(s, dtype=float) for s, _ in curves]))
    raw = np.stack([np.interp(steps, s, v, left=np.nan, right=np.nan) for s, v in (_floats(c) for c in curves)])
    values = np.stack([_smoothed(row) for row in raw]) if smooth else raw
    seen = np.isfinite(values)
    count = seen.sum(0)
    mean = np.where(count > 0, np.where(seen, values, 0).sum(0) / np.maximum(count, 1), np.nan)
    best = f"{np.nanmin(mean):.3f}" if seen.any() else "nothing finite"
    seeds = f", {len(curves)} seeds" if len(curves) > 1 else ""
    if smooth and len(curves) == 1:
        ax.plot(steps, raw[0], color=colour, linewidth=0.6, alpha=0.25)
    if len(curves) > 1:
        least, greatest = np.where(seen, values, np.inf).min(0), np.where(seen, values, -np.inf).max(0)
        ax.fill_between(steps, least, greatest, where=count > 0, color=colour, alpha=0.2, linewidth=0)
    few = "o" if len(steps) <= 30 else None
    ax.plot(steps, mean, color=colour, linewidth=1.8, marker=few, markersize=4, label=f"{label}: {best}{seeds}")
    return np.stack([steps, mean])


def _floats(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    steps, values = (np.asarray(x, dtype=float) for x in curve)
    order = np.argsort(steps, kind="stable")
    return steps[order], values[order]


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Return a centred running mean over a fortieth of the curve; at the ends over what there is."""
    width = max(1, len(values) // 40)
    kernel = np.ones(2 * (width // 2) + 1)
    seen = np.isfinite(values)
    total = np.convolve(np.where(seen, values, 0), kernel, mode="same")[: len(values)]
    weight = np.convolve(seen.astype(float), kernel, mode="same")[: len(values)]
    return np.where(weight > 0, total / np.maximum(weight, 1), np.nan)


def _limits(curves: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return limits that show the last nine tenths of the steps whole, and above them half as much of the start."""
    steps, values = np.concatenate(curves, axis=1)
    seen = np.isfinite(values)
    if not seen.any():
        return 0.0, 1.0
    low = values[seen].min()
    later = seen & (steps >= steps.max() / 10)
    top = low + 1.5 * (values[later].max() - low) if later.any() else np.inf
    top = min(top, values[seen].max())
    margin = 0.05 * (top - low) or 0.05 * max(abs(low), 1e-3)
    return low - margin, top + margin
