"""How a population went over its generations."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from undula.viz.style import COLOURS, INK, grid_of_axes, styled


@styled
def generations(losses: Sequence[Sequence[float | None]], incumbent: float, quantity: str) -> Figure:
    """Draw the loss of everybody in each generation, their best and their mean with one standard deviation.

    Args:
        losses: of each generation, one for each candidate; None where it was not finite.
        incumbent: the loss of what there was before: a line across.
        quantity: what the losses are, with their unit.

    Raises:
        ValueError: when there is no generation, or one without a finite loss.
    """
    found = [np.array([loss for loss in row if loss is not None], dtype=np.float64) for row in losses]
    if not found or not all(len(row) for row in found):
        raise ValueError("no finite loss in some generation, or no generation; give at least one for each")
    figure, axes = grid_of_axes(1, 1, 3.6)
    ax = axes[0, 0]
    number = np.arange(1, len(found) + 1)
    mean, spread = np.array([row.mean() for row in found]), np.array([row.std() for row in found])
    for x, row in zip(number, found, strict=True):
        ax.plot(np.full(len(row), x), row, "o", color=COLOURS[7], alpha=0.4, markersize=4)
    ax.fill_between(number, mean - spread, mean + spread, color=COLOURS[0], alpha=0.2, linewidth=0)
    ax.plot(number, mean, color=COLOURS[0], linewidth=2, label="mean ± standard deviation")
    ax.plot(number, [row.min() for row in found], color=COLOURS[1], linewidth=2, label="best")
    ax.axhline(incumbent, color=INK, linestyle="--", linewidth=1.2, label="incumbent")
    ax.set(title="Evolution of the basis", xlabel="Generation", ylabel=quantity)
    ax.set_xticks(number[:: -(-len(number) // 20)])
    ax.legend(loc="upper right")
    return figure
