"""Interference of waves, pair by pair, in float64."""

import numpy as np


def weights(amplitude, phase, frequency, queries=None, causal=True, key_mask=None, contrast=1.0):
    """(sum_w I / sum_w E)^contrast for waves (B, N, S, W), as (B, N, T, S); queries are the last T positions."""
    batch, heads, steps, _ = amplitude.shape
    queries = steps if queries is None else queries
    out = np.zeros((batch, heads, queries, steps))
    for b in range(batch):
        for n in range(heads):
            for q in range(steps - queries, steps):
                for k in range(q + 1 if causal else steps):
                    if key_mask is not None and not key_mask[b, k]:
                        continue
                    a_q, a_k = amplitude[b, n, q], amplitude[b, n, k]
                    between = phase[b, n, q] - phase[b, n, k]
                    if frequency is not None:
                        between = between + (frequency[b, n, q] - frequency[b, n, k]) * (q - k)
                    intensity = a_q**2 + a_k**2 + 2 * a_q * a_k * np.cos(between)
                    energy = (a_q + a_k) ** 2
                    out[b, n, q - steps + queries, k] = (intensity.sum() / energy.sum()) ** contrast
    return out


def waves(x, p, heads, mask):
    """Amplitudes, phases, frequencies (None where the phases have evolved) and values, by heads."""
    if mask is not None:
        x = np.where(mask[..., None], x, 0.0)

    def project(name):
        y = x @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0.0)
        return y.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    amplitude, phase, frequency = np.log1p(np.exp(project("amp_proj"))), project("phase_proj"), project("freq_proj")
    if "frequency_shift" in p:
        count = p["frequency_shift"].size
        for b in range(len(x)):
            first = 0 if mask is None or not mask[b].any() else int(np.argmax(mask[b]))
            for n in range(heads):
                for w in range(frequency.shape[-1]):
                    ladder = 0.001 ** ((w * heads + n) / max(count - 1, 1))
                    for s in range(x.shape[1]):
                        omega = ladder * np.exp(p["frequency_shift"][n, w] + 0.01 * frequency[b, n, s, w])
                        phase[b, n, s, w] += omega * max(s - first, 0)
        frequency = None
    return amplitude, phase, frequency, project("value_proj")


def mixer(x, p, heads, causal=True, mask=None, normalised=False, contrast=1.0):
    """The interference mixer on x (B, T, D) with parameters p by name."""
    amplitude, phase, frequency, v = waves(x, p, heads, mask)
    w = weights(amplitude, phase, frequency, None, causal, mask, contrast)
    if normalised:
        total = w.sum(-1, keepdims=True)
        w = np.divide(w, total, out=np.zeros_like(w), where=total > 0)
    return (w @ v).transpose(0, 2, 1, 3).reshape(x.shape) @ p["out_proj.weight"].T


def linear_mixer(x, p, heads, causal=True, mask=None):
    """The interference_linear mixer: rows of intensities over rows of energies."""
    amplitude, phase, _, v = waves(x, p, heads, mask)
    out = np.zeros_like(v)
    batch, _, steps, _ = v.shape
    for b in range(batch):
        for n in range(heads):
            for q in range(steps):
                seen = [k for k in range(q + 1 if causal else steps) if mask is None or mask[b, k]]
                a_q, a_k = amplitude[b, n, q], amplitude[b, n, seen]
                intensity = (a_q**2 + a_k**2 + 2 * a_q * a_k * np.cos(phase[b, n, q] - phase[b, n, seen])).sum(-1)
                if seen:
                    out[b, n, q] = intensity @ v[b, n, seen] / ((a_q + a_k) ** 2).sum()
    return out.transpose(0, 2, 1, 3).reshape(x.shape) @ p["out_proj.weight"].T
