"""Sums of sinusoids by definition."""

import numpy as np


def synthesize(frequencies, amplitudes, phases, t):
    f, a, p = (np.asarray(x, dtype=np.float64)[..., None, :] for x in (frequencies, amplitudes, phases))
    t = np.asarray(t, dtype=np.float64)[:, None]
    return (a * np.sin(2 * np.pi * f * t + p)).sum(-1)


def synthesize_sequence(frequencies, amplitudes, phases, samples_per_step, sample_rate, oversampling=64):
    """One sequence (T, H), the frequency integrated numerically by the midpoint rule."""
    f, a, p = (np.asarray(x, dtype=np.float64) for x in (frequencies, amplitudes, phases))
    steps, harmonics = f.shape
    out = np.zeros(steps * samples_per_step)
    for h in range(harmonics):
        turns = 0.0
        for t in range(steps):
            nxt = min(t + 1, steps - 1)
            arc = np.angle(np.exp(1j * (p[nxt, h] - p[t, h])))
            for n in range(samples_per_step):
                share = n / samples_per_step
                amplitude = a[t, h] + (a[nxt, h] - a[t, h]) * share
                out[t * samples_per_step + n] += amplitude * np.sin(2 * np.pi * turns + p[t, h] + arc * share)
                for k in range(oversampling):
                    middle = (n + (k + 0.5) / oversampling) / samples_per_step
                    turns += (f[t, h] + (f[nxt, h] - f[t, h]) * middle) / (oversampling * sample_rate)
    return out
