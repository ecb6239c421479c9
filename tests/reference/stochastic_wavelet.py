"""Projected bands of a causal wavelet tree, all of them, in float64."""

import numpy as np

from tests.reference.wavelet_attention import smooths


def mixer(x, p, lows, mask=None):
    """x (B, T, D): y = out_proj(silu(gate(x)) * sum_j W_j b_j)."""
    x = x if mask is None else np.where(mask[..., None], x, 0.0)
    out = np.zeros_like(x)
    for b in range(len(x)):
        tree = smooths(x[b], lows)
        bands = [fine - coarse for fine, coarse in zip(tree, tree[1:], strict=False)] + tree[-1:]
        mixed = sum(band @ weight.T for band, weight in zip(bands, p["band_weight"], strict=True))
        gate = x[b] @ p["gate.weight"].T
        out[b] = (gate / (1 + np.exp(-gate)) * mixed) @ p["out_proj.weight"].T + p["out_proj.bias"]
    return out
