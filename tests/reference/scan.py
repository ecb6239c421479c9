"""Causal linear attention, step by step, in float64."""

import numpy as np


def causal_linear_attention(q, k, v, state=None):
    """out_t = sum over s <= t of (q_t . k_s) v_s, plus q_t state; and the state sum_s k_s v_s^T after the last step."""
    batch, heads, steps, features = q.shape
    out = np.zeros((batch, heads, steps, v.shape[-1]))
    last = np.zeros((batch, heads, features, v.shape[-1])) if state is None else state.copy()
    for b in range(batch):
        for n in range(heads):
            before = last[b, n].copy()
            for t in range(steps):
                out[b, n, t] = q[b, n, t] @ before
                for s in range(t + 1):
                    out[b, n, t] += (q[b, n, t] @ k[b, n, s]) * v[b, n, s]
                last[b, n] += np.outer(k[b, n, t], v[b, n, t])
    return out, last
