"""Attention over a causal wavelet tree, query by query, in float64: the tree is computed at every position."""

import numpy as np

from tests.reference.attention import rms_norm, rotate, short_conv


def smooths(x, lows):
    """a_0 = x (T, C), a_(j+1)(t) = sum_k low_k a_j(t - 2^j k) / sum of low, with zeros before the first position."""
    out = [x]
    for j, low in enumerate(lows):
        a = np.zeros_like(x)
        for t in range(len(x)):
            for k, tap in enumerate(low):
                if t >= 2**j * k:
                    a[t] += tap * out[-1][t - 2**j * k] / sum(low)
        out.append(a)
    return out


def mixer(x, p, heads, lows, window, base, mask=None):
    """x (B, T, D): each row's real positions are a sequence of their own."""
    out = np.zeros_like(x) + p["out_proj.bias"]
    for b in range(len(x)):
        at = np.arange(x.shape[1]) if mask is None else np.flatnonzero(mask[b])
        if len(at):
            out[b, at] += row(x[b, at], p, heads, lows, window, base) @ p["out_proj.weight"].T
    return out


def row(x, p, heads, lows, window, base):
    steps, width = x.shape
    each = width // heads
    z = x @ p["qkv.weight"].T
    if "short.weight" in p:
        z = short_conv(z[None], p["short.weight"], p["short.bias"])[0]
    tree = smooths(z[:, width:], lows)
    out = np.zeros((steps, width))
    for t in range(steps):
        for n in range(heads):
            part = slice(n * each, (n + 1) * each)
            q = rotate(rms_norm(z[t : t + 1, part], p["q_norm.weight"]), np.array([t]), base)[0]
            scores, values = [], []
            for j in range(len(lows) + 1):
                ends = [e for e in range(t + 1) if (e + 1) % 2**j == 0][-window:]
                for e in ends:
                    u = tree[j][e] - (p["detail"][j] * tree[j + 1][e] if j < len(lows) else 0)
                    key = rms_norm(u[:width][None, part], p["k_norm.weight"]) + p["level_key"][j, part]
                    scores.append(rotate(key, np.array([e]), base)[0] @ q / np.sqrt(each))
                    values.append(u[width:][part])
            weights = np.exp(np.array(scores) - max(scores))
            out[t, part] = weights / weights.sum() @ np.array(values)
    return out
