"""How time or memory grows with the length of a sequence, on logarithmic scales."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from undula.viz.style import COLOURS, grid_of_axes, styled

DASHES = ("-", "--", ":", "-.")
"""For more lines than there are colours."""


@styled
def scaling(series: Mapping[str, Sequence[tuple[int, float]]], quantity: str) -> Figure:
    """Draw a value over the number of steps, a line for each name; a straight line of slope p is growth as steps^p.

    Args:
        series: steps and positive values by name; the order gives colours and dashes.
        quantity: what the values are, with their unit.

    Raises:
        ValueError: when there is nothing to draw, or a value is not positive: a logarithm has no place for it.
    """
    if not any(series.values()):
        raise ValueError("there is nothing to draw; give steps and values of at least one name")
    for name, points in series.items():
        if any(value <= 0 for _, value in points):
            raise ValueError(f"{name!r} has values that are not positive; leave them out")
    figure, axes = grid_of_axes(1, 1, 6.0)
    ax = axes[0, 0]
    for i, (name, points) in enumerate(series.items()):
        steps, values = zip(*points, strict=True) if points else ((), ())
        ax.plot(
            steps,
            values,
            color=COLOURS[i % len(COLOURS)],
            linestyle=DASHES[i // len(COLOURS) % len(DASHES)],
            marker="o",
            markersize=4,
            label=name,
        )
    ax.set(xscale="log", yscale="log", xlabel="Steps", ylabel=quantity)
    known = sorted({step for points in series.values() for step, _ in points})
    ax.set_xticks(known, [f"{step:,}" for step in known])
    ax.minorticks_off()
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=10)
    return figure
