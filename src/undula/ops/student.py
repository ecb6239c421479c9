"""Student's t distribution: how far the mean of a few differences may be from nothing by chance."""

import math
import statistics
from collections.abc import Sequence

HALVINGS = 60


def student_quantile(level: float, freedom: int) -> float:
    """Return t with P(|T| < t) = level for Student's distribution with so many degrees of freedom.

    With theta = atan(t / sqrt(n)) the probability is a finite sum of powers of cos(theta); theta is found by halving.

    Raises:
        ValueError: for a level that is no probability, or no degree of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    if not 0 <= level < 1 or freedom < 1:
        raise ValueError(f"level={level}, freedom={freedom}; wanted 0 up to below 1, and at least 1")
    low, high = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _within(middle, freedom) > level else (middle, high)
    return math.sqrt(freedom) * math.tan(low)


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the interval mean -+ t s / sqrt(n), which holds the true mean of normal values with this probability.

    NaN for fewer than two values: one says nothing about the spread.
    """
    if len(values) < 2:
        return math.nan, math.nan
    mean = statistics.fmean(values)
    reach = student_quantile(level, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - reach, mean + reach


def _within(theta: float, freedom: int) -> float:
    """P(|T| < sqrt(n) tan(theta))."""
    odd = freedom % 2
    cosine, sine = math.cos(theta), math.sin(theta)
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    return 2 / math.pi * (theta + sine * total) if odd else sine * total
