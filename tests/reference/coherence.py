"""Order of waves by definition: pairs of phases, logarithms of norms, shares of harmonics."""

import itertools

import numpy as np


def phase_disorder(x, kept, window, threshold, max_bins=None):
    """Half the squared distance of two phasors of one window and bin, summed over pairs; each window over its size."""
    rows, length, width = x.shape
    bins = range(1, (width - 1) // 2 + 1)[:max_bins]
    scatter = freedom = 0.0
    for b in range(rows):
        for start in range(0, length, window):
            inside = [t for t in range(start, min(start + window, length)) if kept[b, t]]
            if not inside:
                continue
            for k in bins:
                phasors = []
                for t in inside:
                    h = x[b, t] / np.sqrt(np.mean(x[b, t] ** 2) + 1e-8)
                    size = sum(h[j] * np.exp(-2j * np.pi * j * k / width) for j in range(width)) / np.sqrt(width)
                    phasors.append(size / np.sqrt(abs(size) ** 2 + threshold**2))
                scatter += sum(abs(u - v) ** 2 for u, v in itertools.combinations(phasors, 2)) / len(inside)
                freedom += len(inside) - 1
    return scatter / max(freedom, 1)


def energy_drift(layers, kept):
    drifts = [
        (np.log(np.sqrt(np.mean(b[i] ** 2) + 1e-8)) - np.log(np.sqrt(np.mean(a[i] ** 2) + 1e-8))) ** 2
        for a, b in itertools.pairwise(layers)
        for i in zip(*np.nonzero(kept), strict=True)
    ]
    return float(np.mean(drifts)) if drifts else 0.0


def harmonic_drift(amplitudes):
    divergences = []
    for a in np.atleast_2d(amplitudes):
        p = np.abs(a) / np.abs(a).sum()
        q = 1 / np.arange(1, len(a) + 1)
        q = q / q.sum()
        divergences.append(sum(p[n] * np.log(p[n] / q[n]) for n in range(len(a)) if p[n] > 0))
    return float(np.mean(divergences))
