"""Sound from frames of sinusoids: each frame speaks alone at its own instant and fades into its neighbours."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from undula.ops.phase import full_precision, wide_dtype


def sinusoid_frames(
    frequencies: Float[Tensor, "*batch T H"],
    amplitudes: Float[Tensor, "*batch T H"],
    phases: Float[Tensor, "*batch T H"],
    hop_length: int,
    sample_rate: float,
) -> Float[Tensor, "*batch T L"]:
    """Return each frame's sinusoids under its window: L = 2 hop samples, the frame's instant being sample `hop`.

    s_t(n) = w(n) sum_h A_h sin(2 pi f_h n / rate + phi_h) for n = -hop .. hop - 1, w(n) = cos^2(pi n / (2 hop)). Shifts
    of w by one hop sum to 1, and w and its slope are 0 at the neighbours' instants: overlapped and added, the sound has
    at each instant exactly that frame's amplitudes, phases and frequencies, and in between a mixture of two frames.
    Nothing runs on from frame to frame, so no error grows with time.

    The sines of 2 hop samples are products of two tables: sin(a + b) with a on a coarse grid and b on a fine one, so it
    costs O(sqrt(hop)) sines and O(hop) multiplications for each harmonic, as one matrix product for each frame. Turns
    are reduced in float64. Half types are computed in float32 and cast back.

    Args:
        frequencies: in Hz.
        amplitudes: of each harmonic.
        phases: in radians, at the frame's instant.
        hop_length: samples from one frame to the next.
        sample_rate: samples per second.
    """
    dtype = torch.promote_types(torch.promote_types(frequencies.dtype, amplitudes.dtype), phases.dtype)
    f, a, p = (x.to(torch.promote_types(dtype, torch.float32)) for x in (frequencies, amplitudes, phases))
    fine = max(1, math.isqrt(2 * hop_length))
    coarse = -(-2 * hop_length // fine)
    turns = f.to(wide_dtype(f.device))[..., None, :] / sample_rate
    starts = torch.arange(coarse, device=f.device)[:, None] * fine - hop_length
    a0 = _radians(turns * starts, f.dtype) + p[..., None, :]
    b = _radians(turns * torch.arange(fine, device=f.device)[:, None], f.dtype)
    left = torch.cat([a0.sin(), a0.cos()], -1) * torch.cat([a, a], -1)[..., None, :]
    right = torch.cat([b.cos(), b.sin()], -1)
    with full_precision(left):
        samples = (left @ right.transpose(-1, -2)).flatten(-2)[..., : 2 * hop_length]
    return (samples * fading_window(hop_length, samples.device, samples.dtype)).to(dtype)


def fading_window(hop_length: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " L"]:
    """Return cos^2(pi n / (2 hop)) for n = -hop .. hop - 1: 1 in the middle; shifts by one hop sum to 1."""
    n = torch.arange(-hop_length, hop_length, device=device, dtype=wide_dtype(device))
    return torch.cos(math.pi * n / (2 * hop_length)).square().to(dtype)


def _radians(turns: Tensor, dtype: torch.dtype) -> Tensor:
    return (2 * math.pi * (turns - turns.round())).to(dtype)
