"""Overlapped sinusoids, and sound at another rate, sample by sample in float64."""

import numpy as np


def sinusoid_frames(frequencies, amplitudes, phases, hop_length, sample_rate):
    """One sequence (T, H) to (T, 2 hop)."""
    f, a, p = (np.asarray(x, dtype=np.float64) for x in (frequencies, amplitudes, phases))
    out = np.zeros((len(f), 2 * hop_length))
    for t in range(len(f)):
        for i, n in enumerate(range(-hop_length, hop_length)):
            window = 0.5 + 0.5 * np.cos(np.pi * n / hop_length)
            for h in range(f.shape[1]):
                turns = np.fmod(f[t, h] * n / sample_rate, 1)
                out[t, i] += window * a[t, h] * np.sin(2 * np.pi * turns + p[t, h])
    return out


def resample(x, old, new, lobes=16, share=0.95):
    """Each new sample as a sum over all old ones, weighted by a sinc under a Hann window."""
    rate = share * min(old, new)
    count = -(-len(x) * new // old)
    out = np.zeros(count)
    for m in range(count):
        for n in range(len(x)):
            away = (m / new - n / old) * rate
            if abs(away) < lobes:
                out[m] += x[n] * np.sinc(away) * np.cos(np.pi * away / (2 * lobes)) ** 2 * rate / old
    return out


def si_sdr(estimate, target):
    """In decibels, by projection."""
    wanted = np.dot(estimate, target) / np.dot(target, target) * target
    return 10 * np.log10(np.sum(wanted**2) / np.sum((estimate - wanted) ** 2))
