"""Wave packets of tokens by definition, one token, wave and harmonic at a time."""

import math

import numpy as np


def packet(theta, amplitudes):
    """Sines of all waves, wave by wave, then cosines."""
    return np.array([a * f(n * t) for f in (math.sin, math.cos) for t in theta for n, a in enumerate(amplitudes, 1)])


def rate(rank, vocab_size, harmonics):
    """Cycles per unit of time: the rarest token's highest harmonic has a quarter."""
    return 0.25 / harmonics * math.sqrt(rank + 1) / math.sqrt(vocab_size)


def embed(token_ids, positions, ratio, *, ranks, phases, pos_freq, amplitudes, projection, table, gain, bias):
    """(B, T, D) before any batching: superpose, project, normalise."""
    vocab_size, waves = phases.shape
    harmonics = len(amplitudes)
    length = math.sqrt(waves * sum(1 / n**2 for n in range(1, harmonics + 1)))
    clocks = [10 ** (-4 * w / max(waves - 1, 1)) for w in range(waves)]
    out = np.zeros((*token_ids.shape, len(projection)))
    for place, token in np.ndenumerate(token_ids):
        tau = [positions[place] * c for c in clocks]
        own = 2 * math.pi * rate(ranks[token], vocab_size, harmonics)
        carrier = packet([tau[w] * pos_freq[w] for w in range(waves)], amplitudes)
        wave = packet([tau[w] * (own + pos_freq[w]) + phases[token, w] for w in range(waves)], amplitudes)
        x = projection @ ((1 - ratio) * wave + carrier) / length + ratio * table[token]
        out[place] = gain * (x - x.mean()) / np.sqrt(x.var() + 1e-5) + bias
    return out
