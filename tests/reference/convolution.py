"""Convolutions and damped harmonics, sum by sum, in float64."""

import numpy as np

from tests.reference.attention import rms_norm, short_conv


def causal_conv(u, h):
    """y(t) = sum over s <= t of h(t - s) u(s), for u (B, C, T) and h (C, T)."""
    y = np.zeros_like(u)
    for t in range(u.shape[-1]):
        for s in range(t + 1):
            y[..., t] += h[:, t - s] * u[..., s]
    return y


def impulse_response(decay, frequency, gain, length):
    """h(t) = sum_m Re[c_m exp((-decay_m + i frequency_m) t)], for (C, M) parameters and gain (C, M, 2)."""
    c = gain[..., 0] + 1j * gain[..., 1]
    return np.stack([(c * np.exp((-decay + 1j * frequency) * t)).real.sum(-1) for t in range(length)], axis=-1)


def harmonic_states(u, decay, frequency):
    """s(t) = z s(t-1) + u(t) for u (B, C, T): all states, (B, C, T, M), complex."""
    z = np.exp(-decay + 1j * frequency)
    state, states = np.zeros((*u.shape[:2], decay.shape[1]), dtype=complex), []
    for t in range(u.shape[-1]):
        state = z * state + u[..., t, None]
        states.append(state)
    return np.stack(states, axis=2)


def gated(x, p, mask, mix):
    """out_proj(norm(q) * mix(norm(k) * v)) with q, k, v projections of a short convolution, for x (B, T, D)."""
    if mask is not None:
        x = np.where(mask[..., None], x, 0.0)
    smooth = short_conv(x, p["gate.short.weight"], p["gate.short.bias"])
    q, k, v = np.split(smooth @ p["gate.in_proj.weight"].T, 3, axis=-1)
    q, k = rms_norm(q, p["gate.q_norm.weight"]), rms_norm(k, p["gate.k_norm.weight"])
    u = k * v
    if mask is not None:
        u = np.where(mask[..., None], u, 0.0)
    return (q * mix(u)) @ p["out_proj.weight"].T


def fft_conv_mixer(x, p, causal=True, mask=None, memory=0.0):
    """The fft_conv mixer; with a memory, the last frequency counts in 1 / memory."""
    frequency = p["filter.frequency"].copy()
    if memory:
        frequency[:, -1] /= memory

    def mix(u):
        h = impulse_response(np.exp(p["filter.log_decay"]), frequency, p["filter.gain"], u.shape[1])
        h[:, 0] += p["filter.direct"]
        rows = u.transpose(0, 2, 1)
        y = causal_conv(rows, h)
        if not causal:
            y = y + causal_conv(rows[..., ::-1], h)[..., ::-1] - h[:, :1] * rows
        return y.transpose(0, 2, 1)

    return gated(x, p, mask, mix)


def short_conv_mixer(x, p, causal=True, mask=None):
    """The short_conv mixer."""
    return gated(x, p, mask, lambda u: short_conv(u, p["filter.weight"], p["filter.bias"]))
