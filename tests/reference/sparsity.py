"""Choosing k of H by definition, in float64."""

import numpy as np


def hard_topk(scores, k):
    """True at the k highest of a row; of equals, the first."""
    order = sorted(range(len(scores)), key=lambda h: (-scores[h], h))
    return np.array([h in order[:k] for h in range(len(scores))])


def soft_topk(scores, k, temperature):
    """1 / (1 + exp(-(s - theta) / temperature)) with the theta, found by bisection, for which the sum is k."""
    low, high = min(scores) - 50 * temperature, max(scores) + 50 * temperature
    for _ in range(200):
        theta = (low + high) / 2
        kept = 1 / (1 + np.exp(-(scores - theta) / temperature))
        low, high = (theta, high) if kept.sum() > k else (low, theta)
    return kept


def frequency_gain(frequencies, limit, slope, highest=None):
    """min(1, sigmoid(2 - slope (u - limit)) / sigmoid(2)) of one position's frequencies, u = min(1, f / highest)."""
    u = np.minimum(1, np.abs(frequencies) / (np.abs(frequencies).max() if highest is None else highest))
    return np.minimum(1, (1 + np.exp(-2)) / (1 + np.exp(slope * (u - limit) - 2)))
