"""Gates and choices on spectra by definition, in float64: one bin, head and channel after the other."""

import math

import numpy as np

from tests.reference.sparsity import hard_topk


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def linear(x, p, name):
    return x @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0)


def layer_norm(x, p, name):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def band(number, count, frequency):
    """cos^2 of the distance in octaves, 2 between centres; the ends reach on."""
    place = 0.0 if frequency == 0 else math.log2(frequency / 0.25) / 2 + count - 1
    away = abs(min(max(place, 0), count - 1) - number)
    return math.cos(math.pi / 2 * away) ** 2 if away < 1 else 0.0


def bands(count, bins):
    return np.array([[band(b, count, f / max(1, 2 * (bins - 1))) for f in range(bins)] for b in range(count)])


def phase(amplitude, cycles, bins):
    out = np.zeros(bins)
    for f in range(bins):
        u = f / (bins - 1)
        for a, c in zip(amplitude, cycles, strict=True):
            out[f] += a * (math.sin(2 * math.pi * c * u) - u * math.sin(2 * math.pi * c))
    return out


def unevenness(power):
    """Of the bins that count."""
    if len(power) < 2:
        return 0.0
    lifted = power + 1e-6 * power.mean() + 1e-20
    share = lifted / lifted.sum()
    return 1 + sum(q * math.log(q) for q in share) / math.log(len(power))


def pooled(x, size):
    return np.array([x[i : i + size].mean(0) for i in range(0, len(x), size)])


def patterns(weights, bins):
    """One head's weights to (F,)."""
    u = np.arange(bins) / (bins - 1)
    return sum(w * np.cos(math.pi * (j + 1) * u) for j, w in enumerate(weights))


def gating(x, p, heads, count):
    """One spectrum (F, D) to the filtered one, and how uneven that is."""
    bins, width = len(x), x.shape[1] // heads
    size = np.sqrt(np.abs(x) ** 2 + 1e-12)
    shapes = bands(count, bins)
    levels = np.array([(row[:, None] * size).sum(0) / max(row.sum(), 1e-300) for row in shapes])
    levels = layer_norm(levels, p, "norm")
    raw = linear(levels.reshape(-1), p, "gate")
    scores = raw + linear(gelu(linear(raw, p, "across.0")), p, "across.3")
    passing = sigmoid(linear(levels.mean(0), p, "passing"))
    out, uneven = np.zeros_like(x), []
    for h in range(heads):
        mine = slice(h * width, (h + 1) * width)
        gates = sigmoid(scores.reshape(heads, count)[h] - p["threshold"][h])
        turn = phase(p["amplitude"][h], p["cycles"][h], bins) if "amplitude" in p else np.zeros(bins)
        for f in range(bins):
            response = sum(gates[b] * shapes[b, f] for b in range(count)) * np.exp(1j * turn[f])
            mixed = (response * x[f, mine]) @ p["mixing"][h]
            out[f, mine] = p["residual"][h] * x[f, mine] + passing[mine] * mixed
        uneven.append(unevenness((np.abs(out[:, mine]) ** 2).sum(-1)))
    return out, np.mean(uneven)


def selection(x, p, heads, scales, share):
    """One spectrum (F, D) to which bins each head keeps, (heads, F); share: fixed, or None where it adapts."""
    bins, width = len(x), x.shape[1] // heads
    size = np.sqrt(np.abs(x) ** 2 + 1e-12)
    normed = layer_norm(size, p, "importance.0")
    hidden = gelu(linear(gelu(linear(normed, p, "importance.1")), p, "importance.3"))
    network = linear(hidden, p, "importance.5")
    chosen = []
    for h in range(heads):
        mine = slice(h * width, (h + 1) * width)
        level = size[:, mine].mean(-1)
        score = network[:, h] + level / (level.mean() + 1e-6) + patterns(p["patterns"][h], bins)
        for i in range(scales):
            means = pooled(normed, 2**i)
            coarse = linear(gelu(linear(means, p, f"scorers.{i}.0")), p, f"scorers.{i}.2")[:, h]
            score += 0.5 * 0.5**i * np.array([coarse[f // 2**i] for f in range(bins)])
        if "query.weight" in p:
            queries, keys = (linear(normed, p, name)[:, mine] for name in ("query", "key"))
            # Every query with every key, then the mean: the square that the fast form avoids.
            score += (queries @ keys.T).mean(1) / math.sqrt(width)
        score /= np.log1p(np.exp(p["temperature"][h])) + 0.1
        kept = share or 0.12 + 0.33 * sigmoid(p["offset"][h] + network[:, h].mean())
        chosen.append(hard_topk(score, max(1, round(bins * kept))))
    return np.array(chosen)
