"""Experiments side by side: their scores, and what was mixed in over their steps."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from undula.viz.style import COLOURS, INK, grid_of_axes, styled


@styled
def ranked_values(values: Mapping[str, Sequence[float]], quantity: str) -> Figure:
    """Draw one row for each experiment, the lowest mean on top: a dot for each seed, a line at their mean.

    Args:
        values: of each experiment, one for each seed.
        quantity: what they are, with their unit.

    Raises:
        ValueError: when there is no experiment, or one without values.
    """
    empty = [name for name, found in values.items() if not len(found)]
    if empty or not values:
        raise ValueError(f"no values of {', '.join(empty) or 'any experiment'}; give at least one for each")
    names = sorted(values, key=lambda name: (np.isnan(np.mean(values[name])), np.mean(values[name])))
    figure, axes = grid_of_axes(1, 1, max(2.0, 0.6 + 0.34 * len(names)))
    ax = axes[0, 0]
    for row, name in enumerate(names):
        mean = float(np.mean(values[name]))
        ax.plot([mean, mean], [row - 0.3, row + 0.3], color=INK, linewidth=2)
        ax.plot(values[name], [row] * len(values[name]), "o", color=COLOURS[0], alpha=0.7, markersize=6)
        ax.annotate(f"{mean:.3f}", (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=10)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel=quantity, ylim=(len(names) - 0.5, -0.5))
    ax.grid(visible=False, axis="y")
    return figure


@styled
def shares(values: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Draw shares from 0 to 1 over the steps; experiments with equal curves have one line and stand together.

    Args:
        values: of each experiment, one for each step.
        title: what is shared.

    Raises:
        ValueError: when there is no experiment.
    """
    if not values:
        raise ValueError("no experiment to draw; give at least one")
    together: dict[tuple[float, ...], list[str]] = {}
    for name, curve in values.items():
        together.setdefault(tuple(curve), []).append(name)
    figure, axes = grid_of_axes(1, 1, 3.2)
    ax = axes[0, 0]
    for number, (curve, names) in enumerate(together.items()):
        label = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        ax.plot(range(len(curve)), curve, color=COLOURS[number % len(COLOURS)], linewidth=2, label=label)
    ax.set(title=title, xlabel="Step", ylim=(-0.05, 1.05))
    ax.legend(loc="center right")
    return figure
