"""The memory whose gains chunks set for the chunks after them, step by step in float64."""

import numpy as np

from tests.reference.attention import rms_norm
from tests.reference.convolution import gated
from tests.reference.overlap import log_bands
from tests.reference.sparsity import hard_topk, soft_topk

FEATURES, LIMIT, LEAST, MOST = 8, 2.0, 0.12, 0.45


def poles(p):
    """Decay and frequency of each head and mode."""
    heads, modes = p["memory.decay_shift"].shape
    decay, frequency = np.zeros((heads, modes)), np.zeros((heads, modes))
    for n in range(heads):
        for m in range(modes):
            start = np.log(0.5) + np.log(0.002 / 0.5) * m / max(modes - 1, 1)
            place = (n * modes + m) * (np.sqrt(5) - 1) / 2 % 1
            decay[n, m] = np.exp(start + p["memory.decay_shift"][n, m])
            frequency[n, m] = np.pi * n / max(heads - 1, 1) * place + p["memory.frequency_shift"][n, m]
    return decay, frequency


def gains(plan, p, share, phase_aware):
    """Complex gains (N, M) from a plan (N, P); share (N,) of modes that heads keep, None: all."""
    heads, modes = p["memory.decay_shift"].shape
    angle = plan[:, modes : 2 * modes] if phase_aware else 0
    g = np.exp(LIMIT * np.tanh(plan[:, :modes] / LIMIT)) * np.exp(1j * angle)
    if share is None:
        return g
    for n in range(heads):
        scores = plan[n, -modes:] + p["memory.selector.preference"][n]
        wanted = share[n] * modes
        count = max(1, int(np.round(wanted)))
        soft = soft_topk(scores, wanted, 1.0)
        chosen = hard_topk(scores, count)
        bar = 0.0 if chosen.all() else soft[~chosen].max()
        g[n] *= np.where(chosen, (soft - bar) / (1 - bar), 0)
    return g


def next_plan(s, sums, p, num_bands, selects, cross_frequency):
    """Add what the states s (N, M, E) at the end of a chunk say to the sums; return the plan of the next chunk."""
    heads, modes, _ = s.shape
    decay, frequency = poles(p)
    power = np.abs(s) ** 2 * (1 - np.exp(-2 * decay))[..., None]
    bands = log_bands(np.abs(frequency).ravel() / (2 * np.pi), num_bands).reshape(num_bands, heads, modes)
    heard = np.log1p(np.einsum("xnm,nme->xne", bands, power)).reshape(num_bands, -1)
    summary = rms_norm((heard * p["memory.plan.band_scales"]).sum(0), p["memory.plan.norm.weight"])
    q, k, v = (p["memory.plan.in_proj.weight"] @ summary).reshape(3, heads, FEATURES)
    q, k = (np.where(a > 0, 1 + a, np.exp(a)) for a in (q, k))
    for n in range(heads):
        sums[n] += np.outer(k[n], np.append(v[n], 1.0))
    counted = np.stack([q[n] @ sums[n] for n in range(heads)])
    plan = np.einsum("nr,nrp->np", counted[:, :-1] / counted[:, -1:], p["memory.plan.to_plan"])
    if not selects:
        return plan
    loud = np.log1p(power.mean(-1))
    if not cross_frequency:
        return np.concatenate([plan, loud], -1)
    plan[:, -modes:] += loud
    return plan


def chunk_memory(u, p, options):
    """One row of inputs (T, D), counted from its first real step, to its outputs."""
    decay, frequency = poles(p)
    heads, modes = decay.shape
    share = None
    if options.get("adaptive"):
        share = LEAST + (MOST - LEAST) / (1 + np.exp(-p["memory.selector.share_logit"]))
    elif options.get("sparsity") is not None:
        share = np.full(heads, options["sparsity"])
    a = p["memory.gain"][:, 0] + 1j * p["memory.gain"][:, 1]
    s = np.zeros((heads, modes, u.shape[1] // heads), dtype=complex)
    crossing, phase_aware = options.get("cross_frequency", True), options.get("phase_aware", True)
    numbers = 1 + phase_aware + (share is not None)
    sums, plan = np.zeros((heads, FEATURES, FEATURES + 1)), np.zeros((heads, numbers * modes))
    y = np.zeros_like(u)
    for t, now in enumerate(u.reshape(len(u), heads, -1)):
        if t and t % options["chunk_size"] == 0:
            plan = next_plan(s, sums, p, options.get("num_freq_bands", 4), share is not None, crossing)
        s = np.exp(-decay + 1j * frequency)[..., None] * s + now[:, None]
        weights = gains(plan, p, share, phase_aware)[..., None] * a
        y[t] = (p["memory.direct"] * now + (weights * s).real.sum(1)).ravel()
    return y


def mixer(x, p, options, mask=None):
    """The hierarchical_fft mixer on x (B, T, D)."""

    def mix(u):
        y = np.zeros_like(u)
        for b in range(len(u)):
            first = 0 if mask is None else int(np.argmax(mask[b]))
            y[b, first:] = chunk_memory(u[b, first:], p, options)
        return y

    return gated(x, p, mask, mix)
