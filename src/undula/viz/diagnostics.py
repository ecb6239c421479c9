"""What diagnostics of waves measured: a spectrum with its harmonics, fringes, and growth through the layers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from undula.viz.style import COLOURS, INK, MAGNITUDE, grid_of_axes, styled


@styled
def harmonic_spectrum(power: ArrayLike, peaks: Sequence[int] | ArrayLike, series: Sequence[int] = ()) -> Figure:
    """Draw a mean power spectrum in decibels, bins that stand out as dots, and a harmonic series as lines.

    Args:
        power: (F,), by cycles per row; the mean, bin 0, is left out.
        peaks: bins that stand out.
        series: bins of f, 2 f and 3 f; empty without such a series.

    Raises:
        ValueError: when the power is not one row of two or more numbers.
    """
    p = np.asarray(power, dtype=float)
    if p.ndim != 1 or len(p) < 2:
        raise ValueError(f"got power of shape {p.shape}, wanted (bins,) with 2 or more")
    level = 10 * np.log10(np.maximum(p, 1e-12 * max(p.max(), 1e-300)))
    figure, axes = grid_of_axes(1, 1, 4.2)
    ax = axes[0, 0]
    ax.plot(np.arange(1, len(p)), level[1:], color=COLOURS[0], linewidth=1.3)
    found = np.asarray(peaks, dtype=int)
    ax.plot(found, level[found], "o", color=COLOURS[1], markersize=5, label="stands out")
    for n, position in enumerate(series, 1):
        ax.axvline(position, color=COLOURS[2], linewidth=1, linestyle="--")
        ax.annotate(
            f"{n} f" if n > 1 else "f", (position, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom"
        )
    title = "Spectrum of the embeddings" + ("" if series else ": no harmonic series")
    ax.set(xlabel="Frequency (cycles per row of features)", ylabel="Power (dB)")
    ax.set_title(title, pad=18)
    if len(found):
        ax.legend()
    return figure


@styled
def interference_fringes(weights: ArrayLike, correlation: ArrayLike, peaks: Sequence[int] = ()) -> Figure:
    """Draw mean weights as an image and the mean autocorrelation of their rows with its peaks.

    Args:
        weights: (T, T), queries before keys.
        correlation: (L,), by lag.
        peaks: lags of its peaks.

    Raises:
        ValueError: when the weights are no square, or the correlation is not one row.
    """
    w, r = np.asarray(weights, dtype=float), np.asarray(correlation, dtype=float)
    if w.ndim != 2 or w.shape[0] != w.shape[1] or r.ndim != 1:
        raise ValueError(f"got weights {w.shape} and autocorrelation {r.shape}; wanted (T, T) and (lags,)")
    figure, axes = grid_of_axes(1, 2, 4.4, ratios=(1, 1.2))
    image, lags = axes[0]
    drawn = image.imshow(w, cmap=MAGNITUDE, interpolation="nearest")
    image.grid(visible=False)
    figure.colorbar(drawn, ax=image, shrink=0.8)
    image.set(title="Mean weights", xlabel="Key position", ylabel="Query position")
    lags.plot(np.arange(len(r)), r, color=COLOURS[0], linewidth=1.4)
    found = np.asarray(peaks, dtype=int)
    lags.plot(found, r[found], "o", color=COLOURS[1], markersize=5)
    lags.axhline(0, color=INK, linewidth=0.8)
    lags.set(title="Autocorrelation of rows", xlabel="Lag (positions)", ylabel="Correlation")
    return figure


@styled
def trajectory(norms: ArrayLike, rates: ArrayLike, limit: float) -> Figure:
    """Draw the size of the residual stream and the growth of a perturbation, layer by layer.

    Args:
        norms: (L + 1,), root mean square before each layer and after the last.
        rates: (L,), logarithm of the growth in each layer, in nats.
        limit: mean rate up to which growth is called stable.

    Raises:
        ValueError: when there is not one size more than there are rates.
    """
    sizes, growth = np.asarray(norms, dtype=float), np.asarray(rates, dtype=float)
    if growth.ndim != 1 or sizes.shape != (len(growth) + 1,):
        raise ValueError(f"got norms {sizes.shape} and rates {growth.shape}; wanted (L + 1,) and (L,)")
    figure, axes = grid_of_axes(1, 2, 3.8)
    size, rate = axes[0]
    size.plot(np.arange(len(sizes)), sizes, "o-", color=COLOURS[0], linewidth=1.4, markersize=4)
    size.set(title="Size of the residual stream", xlabel="Layers passed", ylabel="Root mean square")
    rate.bar(np.arange(1, len(growth) + 1), growth, color=COLOURS[0])
    rate.axhline(limit, color=COLOURS[1], linestyle="--", linewidth=1.2, label="limit of the mean")
    rate.axhline(growth.mean(), color=INK, linewidth=1.2, label=f"mean {growth.mean():.3g}")
    rate.set(title="Growth of a perturbation", xlabel="Layer", ylabel="Nats")
    rate.legend()
    for ax in (size, rate):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
