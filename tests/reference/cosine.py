"""Cosine attention, in float64."""

import numpy as np

from tests.reference.attention import rotate, sdpa


def mixer(x, p, heads, causal=True, mask=None, base=10000.0):
    """The cosine mixer on x (B, T, D) with parameters p by name; base None: no rotary positions."""
    batch, steps, width = x.shape

    def split(part):
        return part.reshape(batch, steps, heads, -1).transpose(0, 2, 1, 3)

    q, k = (split(x @ p[f"{side}.weight"].T + p[f"{side}.bias"]) for side in ("query", "key"))
    q, k = (part / np.sqrt((part**2).sum(-1, keepdims=True) + 1e-6) for part in (q, k))
    if base is not None:
        q, k = rotate(q, np.arange(steps), base), rotate(k, np.arange(steps), base)
    scale = np.exp(p["log_scale"])[:, None, None]
    out = sdpa(scale * q, k, split(x @ p["value.weight"].T), causal, mask, scale=1.0)
    return out.transpose(0, 2, 1, 3).reshape(batch, steps, width) @ p["out_proj.weight"].T
