"""Spectral filters and gates, by definition, in float64."""

import numpy as np

from tests.reference.convolution import causal_conv, gated, impulse_response


def hankel(length):
    """Z_ij = 2 / ((i + j)^3 - (i + j)) for i, j = 1 .. length."""
    return np.array([[2 / ((i + j) ** 3 - (i + j)) for j in range(1, length + 1)] for i in range(1, length + 1)])


def spectral_filters(length, count):
    """The largest eigenvalues and their eigenvectors, as rows that start with a positive value."""
    values, vectors = np.linalg.eigh(hankel(length))
    values, vectors = values[::-1][:count], vectors.T[::-1][:count]
    return values, vectors * np.sign(vectors[:, :1])


def mixed_filters(mixture, direct, length, steps):
    """h(t) = direct [t = 0] + sum_k (a_k + b_k (-1)^t) s_k^(1/4) f_k(t), zero after `length` steps."""
    values, vectors = spectral_filters(length, mixture.shape[1] // 2)
    plain, alternating = np.split(mixture, 2, axis=1)
    h = np.zeros((len(mixture), steps))
    for t in range(min(length, steps)):
        h[:, t] = (plain + alternating * (-1) ** t) @ (values**0.25 * vectors[:, t])
    h[:, 0] += direct
    return h


def two_sided(rows, h, causal):
    """The convolution, and with causal=False its mirror image beside it, the present counted once."""
    y = causal_conv(rows, h)
    return y if causal else y + causal_conv(rows[..., ::-1], h)[..., ::-1] - h[:, :1] * rows


def spectral_filter_mixer(x, p, length, causal=True, mask=None):
    """The spectral_filter mixer, for filters of `length` steps."""

    def mix(u):
        h = mixed_filters(p["filter.mixture"], p["filter.direct"], length, u.shape[1])
        return two_sided(u.transpose(0, 2, 1), h, causal).transpose(0, 2, 1)

    return gated(x, p, mask, mix)


def spectral_gate_mixer(x, p, heads, bands, causal=True, mask=None):
    """The spectral_gate mixer."""
    width = x.shape[-1] // heads
    heard = x if mask is None else np.where(mask[..., None], x, 0.0)

    def mix(u):
        gain = p["filter.gain"]
        if gain.shape[-1] == 1:  # without phases
            gain = np.concatenate([gain, np.zeros_like(gain)], -1)
        h = impulse_response(np.exp(p["filter.log_decay"]), p["filter.frequency"], gain, u.shape[1])
        h[:, 0] += p["filter.direct"]
        y = two_sided(u.transpose(0, 2, 1), h, causal).transpose(0, 2, 1)
        for head in range(heads):
            for e in range(width):
                row = p["band_gate.weight"][head * bands + e % bands]
                y[..., head * width + e] *= 2 / (1 + np.exp(p["threshold"][head] - heard @ row))
        return y

    return gated(x, p, mask, mix)
