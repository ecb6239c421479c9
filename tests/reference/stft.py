"""Short-time Fourier transforms by definition."""

import numpy as np


def tight_hann(n_fft, hop_length):
    n = np.arange(n_fft)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / n_fft)
    power = [sum(window[m] ** 2 for m in range(i % hop_length, n_fft, hop_length)) for i in n]
    return window / np.sqrt(power)


def stft(x, n_fft, hop_length, causal):
    """One signal to (T, F), each coefficient as its sum; the angle counts from the middle of the frame."""
    window, length = tight_hann(n_fft, hop_length), len(x)
    rows = []
    for t in range(1 + length // hop_length):
        first = t * hop_length - (n_fft if causal else n_fft // 2)
        row = []
        for f in range(n_fft // 2 + 1):
            total = 0j
            for m in range(n_fft):
                if 0 <= first + m < length:
                    total += window[m] * x[first + m] * np.exp(-2j * np.pi * f * (m - n_fft // 2) / n_fft)
            row.append(total)
        rows.append(row)
    return np.array(rows)


def triangle_filters(centres, left, right, num_bins):
    weights = np.zeros((len(centres), num_bins))
    for h, (c, lo, hi) in enumerate(zip(centres, left, right, strict=True)):
        for f in range(num_bins):
            if c - lo < f <= c:
                weights[h, f] = 1 - (c - f) / lo
            if c < f < c + hi:
                weights[h, f] = 1 - (f - c) / hi
    return weights
