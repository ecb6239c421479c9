"""Landmarks of a spectrum, and reading a source with attention or through them, row by row in float64."""

import numpy as np


def landmarks(x, real, count):
    """The landmarks of one row x (S, D) at its real positions; their places and those of the positions."""
    row = x[np.asarray(real, dtype=bool)]
    n, m = len(row), min(len(row), count)
    spectrum = [
        (1 if k == 0 else 2) / n * sum(row[r] * np.cos(np.pi * k * (r + 0.5) / n) for r in range(n)) for k in range(m)
    ]
    points = [sum(spectrum[k] * np.cos(np.pi * k * (j + 0.5) / m) for k in range(m)) for j in range(m)]
    return np.array(points), np.arange(m) + 0.5, (np.arange(n) + 0.5) * m / n


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def rms_norm(x, weight, eps=1e-6):
    return weight * x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)


def _projected(x, hidden, real, p, heads):
    """Queries of one row x (T, D), keys and values of its real source positions, and what makes keys, each by heads."""
    row, width = hidden[np.asarray(real, dtype=bool)], hidden.shape[1] // heads

    def by_heads(z):
        return z.reshape(len(z), heads, width).transpose(1, 0, 2)

    def keys(z):
        return rms_norm(by_heads(z @ p["kv_proj.weight"][: hidden.shape[1]].T), p["k_norm.weight"])

    q = rms_norm(by_heads(x @ p["q_proj.weight"].T), p["q_norm.weight"])
    return q, keys(row), by_heads(row @ p["kv_proj.weight"][hidden.shape[1] :].T), keys


def cross_attention(x, hidden, real, p, heads):
    """What one row reads, and the weights (N, T, n) of real positions."""
    q, k, v, _ = _projected(x, hidden, real, p, heads)
    scale = q.shape[-1] ** -0.5
    weights = np.array([[softmax(k[n] @ t * scale) for t in q[n]] for n in range(heads)])
    out = np.concatenate([weights[n] @ v[n] for n in range(heads)], axis=-1)
    return out @ p["out_proj.weight"].T, weights


def cross_landmarks(x, hidden, real, p, heads, count):
    """What one row reads, and the weights (N, T, n) of real positions."""
    q, k, v, keys = _projected(x, hidden, real, p, heads)
    points, at, places = landmarks(hidden, real, count)
    c, scale = keys(points), q.shape[-1] ** -0.5
    weights = []
    for n in range(heads):
        sharpness = np.exp(p["log_sharpness"][n])
        gather = np.array([softmax(k[n] @ c[n, j] * scale - sharpness * (at[j] - places) ** 2) for j in range(len(at))])
        weights.append(np.array([softmax(c[n] @ t * scale) for t in q[n]]) @ gather)
    weights = np.array(weights)
    out = np.concatenate([weights[n] @ v[n] for n in range(heads)], axis=-1)
    return out @ p["out_proj.weight"].T, weights
