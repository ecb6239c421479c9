"""Softmax attention, query by query, in float64."""

import numpy as np


def sdpa(q, k, v, causal, key_mask=None, scale=None):
    """q (B, N, T, E), k (B, G, S, E), v (B, G, S, Ev); queries are the last T positions; padded queries give zeros."""
    batch, heads, steps, width = q.shape
    total, shared = k.shape[2], heads // k.shape[1]
    scale = width**-0.5 if scale is None else scale
    out = np.zeros((batch, heads, steps, v.shape[-1]))
    for b in range(batch):
        for n in range(heads):
            for i in range(steps):
                here = total - steps + i
                if key_mask is not None and not key_mask[b, here]:
                    continue
                seen = [s for s in range(total) if (not causal or s <= here) and (key_mask is None or key_mask[b, s])]
                scores = scale * k[b, n // shared, seen] @ q[b, n, i]
                weights = np.exp(scores - scores.max())
                out[b, n, i] = weights / weights.sum() @ v[b, n // shared, seen]
    return out


def rotate(x, positions, base):
    """Turn channel j and j + E/2 of x (..., T, E) as a complex number by position * base^(-2j/E)."""
    half = x.shape[-1] // 2
    z = x[..., :half] + 1j * x[..., half:]
    angle = positions[:, None] * base ** (-2.0 * np.arange(half) / x.shape[-1])
    z = z * np.exp(1j * angle)
    return np.concatenate([z.real, z.imag], axis=-1)


def rms_norm(x, weight, eps=1e-6):
    return weight * x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)


def attention_mixer(x, p, heads, kv_heads, causal=True, mask=None, base=None, qk_norm=False):
    """The attention mixer on x (B, T, D) with parameters p by name."""
    batch, steps, _ = x.shape
    width = p["out_proj.weight"].shape[1]
    each = width // heads
    z = x @ p["qkv.weight"].T
    if "short.weight" in p:
        z = np.where(mask[..., None], z, 0.0) if mask is not None else z
        z = short_conv(z, p["short.weight"], p["short.bias"])
    shared = kv_heads * each

    def split(part, n):
        return part.reshape(batch, steps, n, each).transpose(0, 2, 1, 3)

    q = split(z[..., :width], heads)
    k = split(z[..., width : width + shared], kv_heads)
    v = split(z[..., width + shared :], kv_heads)
    if qk_norm:
        q, k = rms_norm(q, p["q_norm.weight"]), rms_norm(k, p["k_norm.weight"])
    if base is not None:
        q, k = rotate(q, np.arange(steps), base), rotate(k, np.arange(steps), base)
    out = sdpa(q, k, v, causal, mask).transpose(0, 2, 1, 3).reshape(batch, steps, width)
    return out @ p["out_proj.weight"].T + p["out_proj.bias"]


def short_conv(x, weight, bias):
    """y(t) = bias + sum_l weight(L - 1 - l) x(t - l) for x (B, T, C), weight (C, L)."""
    taps = weight.shape[1]
    y = np.zeros_like(x) + bias
    for t in range(x.shape[1]):
        for lag in range(min(taps, t + 1)):
            y[:, t] += weight[:, taps - 1 - lag] * x[:, t - lag]
    return y
