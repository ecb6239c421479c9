"""The multi-resolution pyramid, one row without padding at a time, in float64."""

import math

import numpy as np

from tests.reference.attention import attention_mixer, rms_norm, rotate, sdpa
from tests.reference.blocks import swiglu


def windows(harmonics, boundaries, transition):
    """Weight of each band at each harmonic: which band a point i + 1/2 belongs to, blurred by a rise of sin^2."""
    half = max(transition * harmonics, 1.0)
    edges = [math.floor(b * harmonics + 1e-9) for b in boundaries]
    out = np.zeros((len(edges) + 1, harmonics))
    for i in range(harmonics):
        above = []
        for edge in edges:
            distance = i + 0.5 - edge
            if distance <= -half:
                above.append(0.0)
            elif distance >= half:
                above.append(1.0)
            else:
                above.append(0.5 * (1 + math.sin(math.pi * distance / (2 * half))))
        for band in range(len(edges) + 1):
            lower = above[band - 1] if band else 1.0
            upper = above[band] if band < len(edges) else 0.0
            out[band, i] = lower - upper
    return out


def part(p, prefix):
    """The parameters below a prefix."""
    return {key.removeprefix(prefix): value for key, value in p.items() if key.startswith(prefix)}


def linear(x, p):
    return x @ p["weight"].T + p.get("bias", 0)


def frames(x, stride):
    """Every stride-th element of x (T, C) with the stride - 1 before it, zeros before the first."""
    padded = np.concatenate([np.zeros((stride - 1, x.shape[1])), x])
    return np.stack([padded[t : t + stride].reshape(-1) for t in range(0, len(x), stride)])


def band(x, p, d_head, kv_heads, stride, causal):
    """What a band's stack makes of x (T, C), at every position."""
    y = linear(frames(rms_norm(x, p["norm.weight"]), stride), part(p, "from_wave."))[None]
    for layer in range(1000):
        q = part(p, f"processor.layers.{layer}.")
        if not q:
            break
        n = rms_norm(y, q["norm.weight"])
        heads = y.shape[-1] // d_head
        y = (
            y
            + attention_mixer(n, part(q, "attn."), heads, kv_heads, causal, None, 10000.0)
            + swiglu(n, part(q, "ffn."))
        )
    y = rms_norm(y, p["processor.norm.weight"])[0]
    return np.stack([y[t // stride] for t in range(len(x))])


def reads(own, other, query, offer, out, d_head, causal):
    """What `own` (T, D) gets from `other` by attention."""
    q, kv = linear(own, query), linear(other, offer)
    k, v = np.split(kv, 2, axis=-1)

    def heads(z):
        return z.reshape(len(z), -1, d_head).transpose(1, 0, 2)[None]

    at = np.arange(len(own))
    answer = sdpa(rotate(heads(q), at, 10000.0), rotate(heads(k), at, 10000.0), heads(v), causal)
    return linear(answer[0].transpose(1, 0, 2).reshape(len(own), -1), out)


def pyramid(x, p, boundaries, d_head, kv_heads, strides, causal=True):
    """The pyramid of a row x (T, 3 H) with parameters p by name; key-value heads by band."""
    harmonics = x.shape[1] // 3
    w = windows(harmonics, boundaries, 0.05)
    processed, inside = [], []
    for b, stride in enumerate(strides):
        at = np.flatnonzero(w[b] > 0)
        channels = np.concatenate([at, harmonics + at, 2 * harmonics + at])
        inside.append(channels)
        taken = x[:, channels] * np.tile(w[b, at], 3)
        processed.append(band(taken, part(p, f"bands.{b}."), d_head, kv_heads[b], stride, causal))
    exchanged = [y.copy() for y in processed]
    for low in range(len(strides) - 1):
        q = part(p, f"pairs.{low}.")
        sides = [part(q, f"readers.{i}.query.") for i in (0, 1)]
        offers = [part(q, f"offers.{i}.") for i in (0, 1)]
        outs = [part(q, f"readers.{i}.out_proj.") for i in (0, 1)]
        if q:
            a, b = processed[low], processed[low + 1]
            shared = min(a.shape[1], b.shape[1])
            # Heads of attention between bands are twice as wide, where there is an even number.
            wide = d_head * (2 if shared // d_head % 2 == 0 else 1)
            exchanged[low] += reads(a, b, sides[0], offers[1], outs[0], wide, causal)
            exchanged[low + 1] += reads(b, a, sides[1], offers[0], outs[1], wide, causal)
    bands = [linear(y, part(p, f"to_wave.{b}.")) for b, y in enumerate(exchanged)]
    scores = np.exp(linear(np.concatenate(bands, axis=-1), part(p, "fusion.score.")))
    y = np.zeros_like(x)
    for t in range(len(x)):
        for i in range(harmonics):
            total = sum(w[b, i] * scores[t, b] for b in range(len(bands)))
            for b, channels in enumerate(inside):
                for kind in range(3):
                    where = np.flatnonzero(channels == kind * harmonics + i)
                    if len(where):
                        y[t, kind * harmonics + i] += w[b, i] * scores[t, b] / total * bands[b][t, where[0]]
    return x + p["gate"] * y
