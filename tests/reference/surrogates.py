"""Spectra of tables, prominence of peaks, harmonic series and row autocorrelations by definition."""

import numpy as np

SIDE = 4


def mean_power(rows, taper=False):
    x = np.asarray(rows, dtype=np.float64)
    x = x - x.mean(1, keepdims=True)
    columns = x.shape[1]
    n = np.arange(columns)
    if taper:
        x = x * (0.5 - 0.5 * np.cos(2 * np.pi * (n + 0.5) / columns))
    waves = np.exp(-2j * np.pi * np.outer(n, np.arange(columns // 2 + 1)) / columns)
    return (np.abs(x @ waves) ** 2).mean(0)


def prominence(power, columns):
    last = (columns - 1) // 2
    out = np.full(len(power), -np.inf)
    tiny = 1e-9 * power[1 : last + 1].mean() + 1e-300
    for k in range(2, last):
        sides = (power[max(1, k - SIDE) : k], power[k + 1 : min(last, k + SIDE) + 1])
        floor = max(np.sort(side)[(len(side) - 1) // 2] for side in sides)
        out[k] = np.log((power[k] + tiny) / (floor + tiny))
    return out


def best_series(prom, columns, tolerance):
    """The weakest of three members of the best series, by trying every triple of bins for every fundamental."""
    last = (columns - 1) // 2
    best = -np.inf
    for quarter in range(8, 4 * (last - 1) // 3 + 1):
        f = quarter / 4
        reach = [0.5, max(0.5, tolerance * f), max(0.5, tolerance * f)]
        members = [
            [prom[k] for k in range(2, last) if abs(k - n * f) <= r + 1e-9]
            for n, r in zip((1, 2, 3), reach, strict=True)
        ]
        if all(members):
            best = max(best, min(max(m) for m in members))
    return best


def row_autocorrelation(weights, causal):
    """Of rows of unequal length, each with its mean removed and its mean square made 1."""
    tables = np.asarray(weights, dtype=np.float64)
    steps = tables.shape[-1]
    rows = [table[t, : t + 1 if causal else steps] for table in tables.reshape(-1, steps, steps) for t in range(steps)]
    sums, pairs = np.zeros(steps // 2 + 1), np.zeros(steps // 2 + 1)
    for row in rows:
        x = row - row.mean()
        size = np.sqrt((x**2).mean())
        x = x / size if size > 1e-12 else 0 * x
        for lag in range(min(len(x), len(sums))):
            sums[lag] += (x[: len(x) - lag] * x[lag:]).sum()
            pairs[lag] += len(x) - lag
    r = sums / np.maximum(pairs, 1)
    return r / r[0]
