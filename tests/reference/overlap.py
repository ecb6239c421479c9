"""Overlapping frames and their windows, sample by sample in float64."""

import numpy as np


def framed(x, width, hop):
    """Samples (T,) to frames (C, L): the first begins width - hop samples early, the last one holds the last sample."""
    starts = [-(width - hop)]
    while starts[-1] + hop < len(x):
        starts.append(starts[-1] + hop)
    return np.array([[x[s + n] if 0 <= s + n < len(x) else 0.0 for n in range(width)] for s in starts])


def overlap_add(frames, hop_length):
    """Frames (T, L) to their sum."""
    steps, width = frames.shape
    out = np.zeros((steps - 1) * hop_length + width)
    for t in range(steps):
        out[t * hop_length : t * hop_length + width] += frames[t]
    return out


def tight(window, hop):
    """Each value over the root of the squares of all that stand at the same place of the lattice."""
    n = len(window)
    return np.array([window[i] / np.sqrt(sum(window[m] ** 2 for m in range(i % hop, n, hop))) for i in range(n)])


def mixed_window(logits, width):
    weights = np.exp(logits) / np.exp(logits).sum()
    hann = [np.sin(np.pi * n / width) ** 2 for n in range(width)]
    hamming = [0.54 - 0.46 * np.cos(2 * np.pi * n / width) for n in range(width)]
    return weights[0] * np.array(hann) + weights[1] * np.array(hamming) + weights[2]


def power_fades(steps, overlap, width):
    slopes = np.log1p(np.exp(np.concatenate([steps, steps[::-1]])))
    knots = np.concatenate([[0], np.cumsum(slopes)]) / slopes.sum()
    places = np.linspace(0, 1, len(knots))
    window = np.ones(width)
    for i in range(overlap):
        theta = np.pi / 2 * np.interp((i + 0.5) / overlap, places, knots)
        window[i], window[width - overlap + i] = np.sin(theta), np.cos(theta)
    return window


def log_bands(frequencies, count):
    """Weights (bands, F), frequency by frequency."""
    out = np.zeros((count, len(frequencies)))
    for i, f in enumerate(frequencies):
        centres = [0.25 / 4.0 ** (count - 1 - b) for b in range(count)]
        if f <= centres[0]:
            out[0, i] = 1
        elif f >= centres[-1]:
            out[-1, i] = 1
        else:
            b = max(j for j in range(count) if centres[j] <= f)
            share = np.log(f / centres[b]) / np.log(4)
            out[b, i], out[b + 1, i] = np.cos(np.pi / 2 * share) ** 2, np.sin(np.pi / 2 * share) ** 2
    return out
