"""The share of the frequencies that a run heard as it learned, beside the loss that may have delayed it."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from undula.viz.style import COLOURS, grid_of_axes, styled


@styled
def curriculum(limits: Sequence[tuple[float, float]], scores: Sequence[tuple[float, float]]) -> Figure:
    """Draw a curriculum as it was, delays included, over the loss of what is held out.

    Args:
        limits: steps and the share of the frequencies that was let through.
        scores: steps and held-out nats per token; may be empty.
    """
    figure, axes = grid_of_axes(2 if scores else 1, 1, 4.2)
    top = axes[0][0]
    top.step(*zip(*limits, strict=True), where="post", color=COLOURS[0])
    top.set(title="What the model hears", xlabel="Step", ylabel="Share of the frequencies", ylim=(0, 1.05))
    if scores:
        below = axes[1][0]
        below.plot(*zip(*scores, strict=True), color=COLOURS[1], marker="o")
        below.set(title="Held-out text", xlabel="Step", ylabel="Nats per token", xlim=top.get_xlim())
    return figure
