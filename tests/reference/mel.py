"""Mel spectrograms by definition, in float64."""

import numpy as np


def to_mel(hz):
    return 2595 * np.log10(1 + hz / 700)


def to_hz(mel):
    return 700 * (10 ** (mel / 2595) - 1)


def filters(num_mels, sample_rate):
    """Triangles over the bins, at least one bin wide on either side, each of sum 1."""
    n_fft = round(0.025 * sample_rate)
    corners = to_hz(np.linspace(0, to_mel(sample_rate / 2), num_mels + 2)) * n_fft / sample_rate
    out = np.zeros((num_mels, n_fft // 2 + 1))
    for m in range(num_mels):
        left, centre, right = corners[m : m + 3]
        for f in range(out.shape[1]):
            flank = max(1, centre - left) if f < centre else max(1, right - centre)
            out[m, f] = max(0, 1 - abs(f - centre) / flank)
    return out / out.sum(1, keepdims=True)


def log_mel(x, sample_rate, num_mels, causal=False):
    """One recording to (M, T), each coefficient as its sum."""
    n_fft, hop = round(0.025 * sample_rate), round(0.01 * sample_rate)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    bins = np.arange(n_fft // 2 + 1)
    rows = []
    for middle in range(0, len(x), hop):
        first = middle - (n_fft - 1 if causal else n_fft // 2)
        total = np.zeros(len(bins), dtype=complex)
        for n in range(n_fft):
            if 0 <= first + n < len(x):
                total += window[n] * x[first + n] * np.exp(-2j * np.pi * bins * n / n_fft)
        rows.append(filters(num_mels, sample_rate) @ (np.abs(total) ** 2 / (window**2).sum()))
    return np.log(np.array(rows).T + 1e-7)


def levelled(mel, causal):
    """(M, T) less its mean, over its spread; of the frames so far where causal."""
    out = np.zeros_like(mel)
    for t in range(mel.shape[1]):
        known = mel[:, : t + 1] if causal else mel
        out[:, t] = (mel[:, t] - known.mean()) / np.sqrt(known.var() + 0.01)
    return out
