"""Wavelet levels as sums over taps, and the causal tree, in float64."""

import numpy as np


def sample(x, i, mode):
    """The value of a finite signal at any position."""
    n = len(x)
    if 0 <= i < n:
        return x[i]
    if mode == "zero":
        return 0.0
    if mode == "periodization":
        return x[min(i % (n + n % 2), n - 1)]
    if mode == "symmetric":
        return sample(x, -1 - i if i < 0 else 2 * n - 1 - i, mode)
    return sample(x, -i if i < 0 else 2 * n - 2 - i, mode)


def level(x, low, high, mode):
    """One level with decomposition filters as PyWavelets prints them: y(n) = sum_k h(k) x(2 n + s - k)."""
    taps = len(low)
    n = (len(x) + 1) // 2 if mode == "periodization" else (len(x) + taps - 1) // 2
    shift = taps // 2 if mode == "periodization" else 1
    at = [[2 * j + shift - k for k in range(taps)] for j in range(n)]
    return tuple(
        np.array([sum(h[k] * sample(x, i, mode) for k, i in enumerate(row)) for row in at]) for h in (low, high)
    )


def causal_tree(x, low, levels):
    """The smooth part and the details of a tree that looks back only."""
    smooth, details = x, []
    for j in range(levels):
        coarse = np.zeros_like(smooth)
        for t in range(len(x)):
            coarse[t] = sum(low[k] * smooth[t - 2**j * k] for k in range(len(low)) if t >= 2**j * k) / sum(low)
        details.append(smooth - coarse)
        smooth = coarse
    return smooth, details
