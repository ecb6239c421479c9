"""One look for every picture: a figure is 10 inches wide, colours can be told apart by colour-blind readers."""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B3E96", "#6E6E6E")
"""For curves, in this order. Source: Okabe and Ito, "Color Universal Design"."""

TOKEN_FONT = "DejaVu Sans Mono"
"""Comes with matplotlib, so it is on every machine."""

INK, FAINT = "#333333", "#D9D9D9"
MAGNITUDE = mpl.colormaps["viridis"]
POWER = mpl.colormaps["magma"]
ANGLE = ListedColormap(np.roll(mpl.colormaps["twilight"](np.linspace(0, 1, 512)), 256, axis=0), "angle")
"""A cycle, so that -pi and pi look the same."""

P = ParamSpec("P")
R = TypeVar("R")

_STYLE: Mapping[str, Any] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Return the function, run with the look of this module instead of matplotlib's settings of the moment."""

    @functools.wraps(draw)
    def with_style(*args: P.args, **kwargs: P.kwargs) -> R:
        settings: dict[Any, Any] = {**mpl.rcParamsDefault, **_STYLE, "backend": mpl.rcParams["backend"]}
        with mpl.rc_context(settings):
            return draw(*args, **kwargs)

    return with_style


def grid_of_axes(
    rows: int,
    columns: int = 1,
    height: float = 3.2,
    *,
    ratios: Sequence[float] | None = None,
    polar: Sequence[int] = (),
) -> tuple[Figure, np.ndarray]:
    """Return a figure 10 inches wide and its axes (rows, columns).

    Args:
        rows: number of rows.
        columns: number of columns.
        height: of a row, in inches.
        ratios: relative widths of the columns; None: equal.
        polar: axes in polar coordinates, counted row by row.
    """
    figure = Figure(figsize=(10, rows * height), layout="constrained")
    grid = figure.add_gridspec(rows, columns, width_ratios=ratios)
    kinds = ["polar" if i in polar else "rectilinear" for i in range(rows * columns)]
    axes = [figure.add_subplot(grid[i // columns, i % columns], projection=kind) for i, kind in enumerate(kinds)]
    for ax in axes:
        ax.tick_params(labelsize=10, colors=INK)
    return figure, np.array(axes, dtype=object).reshape(rows, columns)


def angle_axis(ax: Axes, *, vertical: bool = True) -> None:
    """Mark an axis of radians at -pi, -pi/2, 0, pi/2 and pi."""
    axis = ax.yaxis if vertical else ax.xaxis
    axis.set_ticks(np.pi * np.array([-1, -0.5, 0, 0.5, 1]), ["-π", "-π/2", "0", "π/2", "π"])


def mark_tokens(ax: Axes, tokens: Sequence[str] | None, positions: Sequence[float]) -> None:
    """Write tokens under their positions, as many as fit; without tokens, call the axis "Position".

    Control characters and spaces are shown as symbols.
    """
    ax.set_xlabel("Position (tokens)")
    if tokens is None:
        return
    shown = [visible(token) for token in tokens]
    room = max(1, int(100 / max(1.6, np.mean([len(s) for s in shown]) + 0.6)))
    step = -(-len(shown) // room)
    ax.set_xticks(list(positions)[::step], shown[::step], family=TOKEN_FONT, fontsize=9, parse_math=False)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel("Token" if step == 1 else f"Token (one in {step} is written)")


def visible(token: str) -> str:
    """Return a token with spaces, control characters and what the font lacks as symbols."""
    symbols = {" ": "␣", "\n": "↵", "\t": "⇥"}
    known = _characters()
    return "".join(symbols.get(c, c if c.isprintable() and ord(c) in known else "·") for c in token)


@functools.cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=TOKEN_FONT))).get_charmap())


def png(figure: Figure, width: int = 1000) -> bytes:
    """Return a figure as a PNG image, `width` pixels wide."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=width / figure.get_figwidth(), metadata={"Software": None})
    return buffer.getvalue()
