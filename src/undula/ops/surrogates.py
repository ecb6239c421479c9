"""Peaks of spectra that are more than chance: a table is compared with itself, its columns in random orders.

If the order of the columns means nothing, the table and its shuffled copies are equally likely, whatever else it holds:
columns of unequal size, rows that resemble each other, outliers. So a statistic that beats nearly all copies is
evidence of order, and the share of copies that reach it is an exact p-value. What is measured is prominence, the
logarithm of a peak over what stands on both sides of it: smooth tables have low frequencies, and these are no waves.

Source: Theiler et al., "Testing for nonlinearity in time series: the method of surrogate data" (1992).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from undula.ops.fft import irfft, rfft

LEVEL = 0.01
"""Share of tables without order that are called ordered."""
SINGLE = 0.95
"""Share of single bins of shuffled copies that every member of a series has to exceed."""
SURROGATES = 199
"""Shuffled copies that a table is compared with: (1 + 1) / (199 + 1) is the level."""
SIDE = 4
"""Bins on each side that a peak is compared with."""
LEAST_COLUMNS = 16
"""Fewer have no bins left for f, 2 f and 3 f with a floor on both sides."""
LEAST_STEPS = 22
"""Steps of attention whose longest rows reach back `LEAST_COLUMNS` lags."""
NOTHING = 1e-30
"""Keeps divisions by the size of nothing finite."""
TABLE_AT_ONCE = 2**22
"""Numbers of shuffled tables held at a time."""


class HarmonicSeries(NamedTuple):
    """The series f, 2 f, 3 f of a table that stands out most."""

    power: Float[Tensor, "F"]
    """Mean power spectrum of the rows."""
    prominence: Float[Tensor, "F"]
    """Logarithm of each local maximum over its sides, the better of with and without a taper; -inf elsewhere."""
    limit: float
    """Prominence that no bin of a shuffled copy reaches, but for a share of LEVEL of the copies."""
    bins: tuple[int, int, int]
    """Where the series was found, in cycles per row."""
    p_value: float


class Fringes(NamedTuple):
    """The modulation along the rows of a table of weights that stands out most."""

    period: float
    """In steps."""
    depth: float
    """Amplitude of the modulation over the mean weight."""
    p_value: float


def harmonic_series(rows: Float[Tensor, "R D"], tolerance: float = 0.1) -> HarmonicSeries:
    """Return the harmonic series of a table's features that stands out most, and how likely chance is to do as well.

    The statistic is the prominence of the weakest of the three, so that one loud tone is no series; the greatest of all
    f counts, in the table as in its copies. Each of the three has also to be more prominent than a share SINGLE of
    single bins of the copies, or the p-value is 1: two loud tones are no series either. f is at least 2 cycles per row:
    slower ones cannot be told from smoothness. Cost R D^2 + copies min(R, D) D log D.

    Args:
        rows: the table.
        tolerance: how far a member may be from n f, as a share of f; never less than the half bin that f is known to.

    Raises:
        ValueError: for too few columns, no rows, numbers that are not finite, or a tolerance outside [0, 0.5).
    """
    columns = rows.shape[1]
    if columns < LEAST_COLUMNS or not len(rows):
        raise ValueError(
            f"got a table of shape {tuple(rows.shape)}; f, 2 f and 3 f need {LEAST_COLUMNS} columns or more"
        )
    if not 0 <= tolerance < 0.5:
        raise ValueError(f"got harmonic_tolerance={tolerance}; wanted a share of f in [0, 0.5), such as 0.1")
    tables = centred(rows), orders(columns, SURROGATES)
    power, tapered = spectra(*tables), spectra(*tables, taper=True)
    # The taper resolves tones between two bins; without it slow ones are not smeared into each other.
    peaks = torch.maximum(_maxima(power, columns), _maxima(tapered, columns))
    fundamentals = [f / 4 for f in range(8, 4 * (_last(columns) - 1) // 3 + 1)]
    scores = torch.stack([_members(peaks, f, tolerance).amin(0) for f in fundamentals])
    best = fundamentals[int(scores[:, 0].argmax())]
    first, second, third = (lo + int(peaks[0, lo:hi].argmax()) for lo, hi in _windows(best, tolerance))
    copies = peaks[1:, 2 : _last(columns)]
    chance = copies.flatten().quantile(SINGLE)
    weakest = scores[:, 0].max()
    p_value = _p_value(weakest, scores[:, 1:].amax(0)) if weakest > chance else 1.0
    limit = copies.amax(1).quantile(1 - LEVEL).item()
    return HarmonicSeries(power[0], peaks[0], limit, (first, second, third), p_value)


def fringes(weights: Float[Tensor, "B N T T"]) -> Fringes:
    """Return the fringes of weights that stand out most, and how likely chance is to do as well.

    Fringes are a modulation by the lag between two positions. Every row is cut to its part that all rows have, three
    quarters of T, once by lag and once by key, mean-free and of one size. Two nulls have to fail, both with the same
    period: that the order of lags means nothing (true of any one row that is shifted along) and that the order of keys
    means nothing (true of keys that all queries prefer). Weights above the diagonal that are all zero count as masked.
    Periods lie between 2 steps and a quarter of T. Cost B N T^3 + copies T^2 log T.

    Args:
        weights: of every pair of positions, queries before keys.

    Raises:
        ValueError: for too short a sequence, no tables, or numbers that are not finite.
    """
    width = _visible(weights)
    by_lag, by_key = _by_lag(weights, width), _by_key(weights, width)
    shuffled = orders(width, SURROGATES)
    peaks = [prominence(spectra(_unit(rows), shuffled, taper=True), width) for rows in (by_lag, by_key)]
    both = torch.minimum(peaks[0][0], peaks[1][0])
    found = int(both[: _last(width)].argmax())
    p_value = max(_p_value(both[found], copies[1:].amax(1)) for copies in peaks)
    return Fringes(width / found, _depth(by_lag, found), p_value)


def row_autocorrelation(weights: Float[Tensor, "B N T T"]) -> Float[Tensor, "L"]:
    """Return the mean autocorrelation of the rows of weights, for lags 0 to T / 2; zeros where no row varies.

    Every row keeps its whole visible part, so under a causal mask rows differ in length: each is made mean-free and of
    one size, products are summed over all rows and divided by their number. r(0) = 1.
    """
    steps = weights.shape[-1]
    seen = torch.ones(steps, steps, dtype=torch.float64, device=weights.device)
    seen = seen.tril() if is_causal(weights) else seen
    lengths = seen.sum(1, keepdim=True)
    x = weights.to(torch.float64) * seen
    x = (x - x.sum(-1, keepdim=True) / lengths) * seen
    size = (x.square().sum(-1, keepdim=True) / lengths).sqrt()
    x = torch.where(size > NOTHING, x / size.clamp_min(NOTHING), 0.0)
    lags = steps // 2 + 1
    spectrum = rfft(x, 2 * steps)
    products = irfft(spectrum * spectrum.conj(), 2 * steps)[..., :lags].sum((0, 1, 2))
    pairs = (lengths - torch.arange(lags, device=weights.device)).clamp_min(0).sum(0) * len(x) * x.shape[1]
    r = products / pairs
    return r / r[0] if r[0] > 0 else torch.zeros_like(r)


def is_causal(weights: Float[Tensor, "B N T T"]) -> bool:
    """Return whether all weights above the diagonal are zero."""
    return not bool(weights.triu(1).any())


def orders(columns: int, count: int) -> Int[Tensor, "S D"]:
    """Return the order of the columns as they are, then `count` random ones; the same at every call."""
    noise = torch.rand(count, columns, generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.arange(columns)[None], noise.argsort(-1)])


def spectra(rows: Float[Tensor, "R D"], shuffled: Int[Tensor, "S D"], *, taper: bool = False) -> Float[Tensor, "S F"]:
    """Return the mean power spectrum of the rows for each order of the columns.

    P(k) = mean_r |sum_i w_i x_r,order(i) exp(-2 pi i k i / D)|^2 with w the Hann window where `taper`. More rows than
    columns are replaced by as many as there are columns, with the same products of columns: the same spectra. Cost
    S D min(R, D) log D, transforms in float32.
    """
    columns = rows.shape[1]
    if len(rows) > columns:
        sizes, directions = torch.linalg.eigh(rows.T @ rows * (columns / len(rows)))
        rows = (directions * sizes.clamp_min(0).sqrt()).T
    rows = rows.float()
    window = 0.5 - 0.5 * torch.cos(2 * torch.pi * (torch.arange(columns) + 0.5) / columns)
    pieces = shuffled.split(max(1, TABLE_AT_ONCE // rows.numel()))
    tables = (rows[:, order] * window if taper else rows[:, order] for order in pieces)
    return torch.cat([rfft(table).abs().square().mean(0) for table in tables])


def prominence(power: Float[Tensor, "S F"], columns: int) -> Float[Tensor, "S F"]:
    """Return log(P(k) / floor) with the greater median of the SIDE bins on either side as the floor.

    Bins without a neighbour on one side (0, 1 and the last two) have -inf. The median is the lower one of an even
    number, so that half of a side may be other peaks.
    """
    last = _last(columns)
    inner = power[:, 1 : last + 1]
    padded = nn.functional.pad(inner, (SIDE, SIDE), value=torch.nan).unfold(1, SIDE, 1)
    floor = torch.maximum(padded[:, :last].nanmedian(-1)[0], padded[:, SIDE + 1 :].nanmedian(-1)[0])
    tiny = 1e-9 * inner.mean(1, keepdim=True) + NOTHING
    judged = torch.log((inner.clamp_min(0) + tiny) / (floor.clamp_min(0) + tiny)).nan_to_num(nan=-torch.inf)
    return nn.functional.pad(judged, (1, power.shape[1] - last - 1), value=-torch.inf)


def centred(rows: Float[Tensor, "R D"]) -> Float[Tensor, "R D"]:
    """Return the rows in float64 on the processor, each without its mean.

    Raises:
        ValueError: for numbers that are not finite.
    """
    rows = rows.detach().to("cpu", torch.float64)
    if not rows.isfinite().all():
        raise ValueError(f"got {int((~rows.isfinite()).sum())} numbers that are not finite; give finite ones")
    return rows - rows.mean(1, keepdim=True)


def _last(columns: int) -> int:
    """The highest bin that has a sine and a cosine."""
    return (columns - 1) // 2


def _maxima(power: Float[Tensor, "S F"], columns: int) -> Float[Tensor, "S F"]:
    """The prominence of local maxima alone: a tone that spreads over neighbouring bins is one peak."""
    padded = nn.functional.pad(power, (1, 1), value=torch.inf)
    highest = (power >= padded[:, :-2]) & (power >= padded[:, 2:])
    return prominence(power, columns).masked_fill(~highest, -torch.inf)


def _windows(fundamental: float, tolerance: float) -> list[tuple[int, int]]:
    """First and last-but-one bin where each of f, 2 f and 3 f may be."""
    reach = max(0.5, tolerance * fundamental)
    windows = [(fundamental, 0.5), (2 * fundamental, reach), (3 * fundamental, reach)]
    return [(max(2, math.ceil(f - r - 1e-9)), math.floor(f + r + 1e-9) + 1) for f, r in windows]


def _members(peaks: Float[Tensor, "S F"], fundamental: float, tolerance: float) -> Float[Tensor, "3 S"]:
    """The prominence of f, 2 f and 3 f, each at its best bin."""
    return torch.stack([peaks[:, lo:hi].amax(1) for lo, hi in _windows(fundamental, tolerance)])


def _p_value(value: Tensor, copies: Tensor) -> float:
    return (1 + int((copies >= value).sum())) / (1 + len(copies))


def _visible(weights: Tensor) -> int:
    steps = weights.shape[-1]
    if steps < LEAST_STEPS or not weights.numel():
        raise ValueError(f"got weights of shape {tuple(weights.shape)}; fringes need {LEAST_STEPS} positions or more")
    return math.ceil(0.75 * steps)


def _by_lag(weights: Tensor, width: int) -> Tensor:
    """Rows of the weights at lags 0 to width - 1, of all queries that have so long a past."""
    queries = torch.arange(width - 1, weights.shape[-1], device=weights.device)[:, None]
    rows = weights[..., queries, queries - torch.arange(width, device=weights.device)]
    return rows.reshape(-1, width)


def _by_key(weights: Tensor, width: int) -> Tensor:
    """Rows of the weights of keys 0 to width - 1, of all queries that see them all."""
    first = width - 1 if is_causal(weights) else 0
    return weights[..., first:, :width].reshape(-1, width)


def _unit(rows: Tensor) -> Tensor:
    """The rows mean-free and of one size; what is constant but for rounding becomes zero."""
    x = centred(rows)
    size = x.square().mean(1, keepdim=True).sqrt()
    floor = 1e-9 * rows.detach().to(x).abs().mean(1, keepdim=True) + NOTHING
    return torch.where(size > floor, x / size.clamp_min(NOTHING), 0.0)


def _depth(rows: Tensor, found: int) -> float:
    """Amplitude of the sinusoid at a bin, over the mean size of the rows."""
    x = rows.detach().to("cpu", torch.float64)
    x = x / x.abs().mean(1, keepdim=True).clamp_min(NOTHING)
    power = spectra(x - x.mean(1, keepdim=True), torch.arange(x.shape[1])[None], taper=True)
    share = 1 - torch.exp(-prominence(power, x.shape[1])[0, found]).clamp_max(1)
    return (2 * (power[0, found] * share).clamp_min(0).sqrt() / (0.5 * x.shape[1])).item()
