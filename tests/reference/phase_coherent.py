"""Phase-coherent attention, pair by pair and harmonic by harmonic, and YaRN's frequencies, in float64."""

import math

import numpy as np

from tests.reference.attention import rms_norm


def coherence(phases_q, phases_k, amps_q, amps_k, modulus):
    """Mean over harmonics of A A' e^(i (phi - phi')) for phases (T, H) and (S, H): its modulus, or its real part."""
    out = np.zeros((len(phases_q), len(phases_k)))
    for t, s in np.ndindex(*out.shape):
        mean = np.mean(amps_q[t] * amps_k[s] * np.exp(1j * (phases_q[t] - phases_k[s])))
        out[t, s] = abs(mean) if modulus else mean.real
    return out


def yarn_rotate(x, positions, base, scale=1.0, trained=512):
    """Turn channel j and j + E/2 of x (T, E), pair by pair."""
    out, half = np.zeros_like(x), x.shape[1] // 2
    for j in range(half):
        pace = base ** (-2 * j / x.shape[1])
        turns = trained * pace / (2 * math.pi)
        if scale > 1 and turns < 1:
            pace = pace / scale
        elif scale > 1 and turns < 32:
            share = (turns - 1) / 31
            pace = share * pace + (1 - share) * pace / scale
        z = (x[:, j] + 1j * x[:, j + half]) * np.exp(1j * positions * pace)
        out[:, j], out[:, j + half] = z.real, z.imag
    return out * (0.1 * math.log(scale) + 1)


def mixer(x, p, heads, kv_heads, causal=True, mask=None, *, phases=None, **options):
    """The mixer on x (B, T, D) with parameters p by name; options as those of `build`."""
    batch, steps, width = x.shape
    each, harmonics = width // heads, width // 3
    modulus = options.get("phase_coherence_mode", "cosine") == "complex"
    grouped = options.get("harmonics", "shared") == "grouped"
    real = np.ones((batch, steps), bool) if mask is None else mask.astype(bool)
    x = np.where(real[..., None], x, 0.0)
    phases = x[..., 2 * harmonics :] if phases is None else np.where(real[..., None], phases, 0.0)
    amps = x[..., harmonics : 2 * harmonics] if modulus else np.ones_like(phases)
    keys, values = np.split(x @ p["kv_proj.weight"].T, 2, axis=-1)
    queries, out = x @ p["q_proj.weight"].T, np.zeros_like(x)
    at = np.arange(float(steps))
    for b, n in np.ndindex(batch, heads):
        g = n * kv_heads // heads
        q, k = queries[b, :, n * each : (n + 1) * each], keys[b, :, g * each : (g + 1) * each]
        if options.get("qk_norm", False):
            q, k = rms_norm(q, p["q_norm.weight"]), rms_norm(k, p["k_norm.weight"])
        if options.get("use_yarn", True):
            how = {"scale": options.get("yarn_scale", 1.0), "trained": options.get("max_seq_len", 512)}
            base = options.get("rotary_base", 10000.0)
            q, k = yarn_rotate(q, at, base, **how), yarn_rotate(k, at, base, **how)
        own = slice(n, None, heads) if grouped else slice(None)
        c = coherence(phases[b, :, own], phases[b, :, own], amps[b, :, own], amps[b, :, own], modulus)
        alpha, beta = (np.broadcast_to(p[name], heads)[n] for name in ("alpha", "beta"))
        scores = alpha * q @ k.T / math.sqrt(each) + beta * c / options.get("phase_temp", 1.0)
        for t in np.flatnonzero(real[b]):
            seen = [s for s in np.flatnonzero(real[b]) if not causal or s <= t]
            weights = np.exp(scores[t, seen] - scores[t, seen].max())
            out[b, t, n * each : (n + 1) * each] = (
                weights / weights.sum() @ values[b, seen][:, g * each : (g + 1) * each]
            )
    return out @ p["out_proj.weight"].T + p["out_proj.bias"]
