"""Sums of sinusoids: their samples at given times, and waves that follow one another without a break."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from undula.ops.phase import wide_dtype, wrap_phase

CHUNK_ELEMENTS = 2**20
"""Sinusoids evaluated at once: bounds the memory of a synthesis at about 32 MB, forward and backward."""


def synthesize(
    frequencies: Float[Tensor, "*batch H"],
    amplitudes: Float[Tensor, "*batch H"],
    phases: Float[Tensor, "*batch H"],
    t: Float[Tensor, " T"],
) -> Float[Tensor, "*batch T"]:
    """Return the samples of each wave at the times `t`.

    s(t) = sum_h A_h sin(2 pi f_h t + phi_h). The turns f t are reduced to a fraction of one in float64, so that float32
    stays exact to rounding at any time. O(T H) sines; differentiable in all four, with memory bounded by chunks over t
    that the backward pass computes again. Half types are computed in float32 and cast back.

    Args:
        frequencies: in Hz.
        amplitudes: of each harmonic.
        phases: in radians.
        t: times in seconds, in any order and of any floating type; the result has the type of the wave.
    """
    dtype = torch.promote_types(torch.promote_types(frequencies.dtype, amplitudes.dtype), phases.dtype)
    parts = [x.to(_wide(dtype)) for x in (frequencies, amplitudes, phases)]
    step = max(1, CHUNK_ELEMENTS // max(1, frequencies.numel()))
    pieces = [_run(_superpose, [*parts, piece], t.shape[0] > step) for piece in t.split(step)]
    return torch.cat(pieces, -1).to(dtype)


def synthesize_sequence(
    frequencies: Float[Tensor, "*batch T H"],
    amplitudes: Float[Tensor, "*batch T H"],
    phases: Float[Tensor, "*batch T H"],
    samples_per_step: int,
    sample_rate: float,
) -> Float[Tensor, "*batch samples"]:
    """Return the samples of waves played one after another, each gliding into the next.

    Each harmonic is one oscillator. Between the starts of steps t and t+1 its frequency and amplitude go linearly from
    one wave to the next, and its phase is 2 pi times the integral of the frequency plus the wave's own phase, which
    turns along the shorter arc; so there is no jump anywhere, and a constant sequence is `synthesize` of its wave. The
    last wave is held for its step. O(T samples_per_step H) sines, memory bounded by chunks over T.

    Args:
        frequencies: in Hz.
        amplitudes: of each harmonic.
        phases: in radians.
        samples_per_step: samples that one step lasts.
        sample_rate: samples per second.
    """
    dtype = torch.promote_types(torch.promote_types(frequencies.dtype, amplitudes.dtype), phases.dtype)
    f, a, p = (x.to(_wide(dtype)) for x in (frequencies, amplitudes, phases))
    following = [torch.cat([x[..., 1:, :], x[..., -1:, :]], -2) for x in (f, a, p)]
    wide = wide_dtype(f.device)
    seconds = torch.tensor(samples_per_step / sample_rate, device=f.device, dtype=wide)
    turned = seconds * (f.to(wide) + following[0].to(wide)) / 2
    start = turned.cumsum(-2) - turned
    share = torch.arange(samples_per_step, device=f.device, dtype=wide) / samples_per_step
    per_step = max(1, f.numel() // max(1, f.shape[-2])) * samples_per_step
    step = max(1, CHUNK_ELEMENTS // max(1, per_step))
    everything = [f, a, p, *following, start]
    chunks = zip(*(x.split(step, -2) for x in everything), strict=True)
    long = f.shape[-2] > step
    pieces = [_run(_glide, [*chunk, seconds, share], long) for chunk in chunks]
    return torch.cat(pieces, -1).to(dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _sines(turns: Tensor, phases: Tensor) -> Tensor:
    """Return sin(2 pi turns + phases) in the type of the phases, from turns in a wider one."""
    return torch.sin((2 * math.pi * (turns - turns.round())).to(phases.dtype) + phases)


def _superpose(f: Tensor, a: Tensor, p: Tensor, t: Tensor) -> Tensor:
    wide = wide_dtype(f.device)
    turns = t.to(wide)[:, None] * f.to(wide)[..., None, :]
    return (_sines(turns, p[..., None, :]) * a[..., None, :]).sum(-1)


def _glide(*parts: Tensor) -> Tensor:
    """Return the samples of consecutive steps, given both ends of each step and the turns made before it."""
    f0, a0, p0, f1, a1, p1, start = (x[..., None, :] for x in parts[:7])
    seconds, share = parts[7], parts[8][:, None]
    turns = start + seconds * share * (f0.to(start.dtype) + (f1 - f0).to(start.dtype) * share / 2)
    share = share.to(p0.dtype)
    return (_sines(turns, p0 + wrap_phase(p1 - p0) * share) * (a0 + (a1 - a0) * share)).sum(-1).flatten(-2)


def _run(function: Callable[..., Tensor], parts: list[Tensor], again: bool) -> Tensor:
    """Return function(*parts); with `again` the backward pass computes it a second time instead of keeping it."""
    if again and torch.is_grad_enabled() and any(x.requires_grad for x in parts):
        return checkpoint(function, *parts, use_reentrant=False, preserve_rng_state=False)
    return function(*parts)
