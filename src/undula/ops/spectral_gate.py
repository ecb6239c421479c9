"""Filters made of a few bands of frequency and a phase curve, what they are decided by, and how even a spectrum is."""

import math

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from undula.ops.spectral_bands import bin_frequencies

QUIET = 1e-12
"""Power below which a magnitude is rounding: added inside the root, so that silence has a gradient."""

FAINT = 1e-6
"""Share of the mean power that every bin has at least, where evenness is measured: keeps its gradient bounded."""

EMPTY = 1e-6
"""Weight of all bins below which a band has none: where a cosine should be 0 it is 1e-16."""

SILENT = 1e-20
"""Power that is nothing at all beside it: a spectrum below is even."""


def bins_of(num_bins: int, *, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " F"]:
    """Return the frequencies of the bins of a real transform of 2 (F - 1) samples, in cycles per step."""
    return bin_frequencies(max(1, 2 * (num_bins - 1)), device=device, dtype=dtype)


def magnitudes(spectrum: Complex[Tensor, "*batch F D"]) -> Float[Tensor, "*batch F D"]:
    """Return sqrt(|X|^2 + 1e-12): smooth at silence, where |X| is not. Needs no angle, and delays do not change it."""
    return (spectrum.real.square() + spectrum.imag.square() + QUIET).sqrt()


def band_levels(size: Float[Tensor, "*batch F D"], bands: Float[Tensor, "bands F"]) -> Float[Tensor, "*batch bands D"]:
    """Return the mean of each band: sum_f B_b(f) size_f / sum_f B_b(f); 0 for a band without a bin."""
    weights = bands / bands.sum(-1, keepdim=True).clamp_min(EMPTY)
    return weights @ size


def phase_curves(
    amplitude: Float[Tensor, "N waves"], cycles: Float[Tensor, "N waves"], frequencies: Float[Tensor, " F"]
) -> Float[Tensor, "N F"]:
    """Return phi_n(f) = sum_k a_nk (sin(2 pi c_nk u) - u sin(2 pi c_nk)), in radians, with u = f / (1/2).

    Odd in f, and 0 at frequency 0 and at the highest one: a filter with this phase is real and keeps real bins real.
    The line that is taken off each sine, so that it ends at 0, is a delay.

    Args:
        amplitude: a, in radians.
        cycles: c, from frequency 0 to the highest.
        frequencies: in cycles per step, 0 to 1/2.
    """
    u = 2 * frequencies
    turns = 2 * math.pi * cycles
    waves = torch.sin(turns[..., None] * u) - u * torch.sin(turns)[..., None]
    return (amplitude[..., None] * waves).sum(-2)


def banded_filter(
    gains: Float[Tensor, "*batch N bands"], bands: Float[Tensor, "bands F"], phases: Float[Tensor, "N F"]
) -> Complex[Tensor, "*batch N F"]:
    """Return H_n(f) = sum_b g_nb B_b(f) e^(i phi_n(f)), the response of one filter for each head."""
    size = gains @ bands
    return torch.complex(size * phases.cos(), size * phases.sin())


def unevenness(
    power: Float[Tensor, "*batch F"], counted: Bool[Tensor, "*batch F"] | None = None
) -> Float[Tensor, "*batch"]:
    """Return 1 - H(p) / ln F with p_f = power_f / sum power: 0 for an even spectrum, 1 for a single line.

    H is Shannon's entropy; no temperature. Silence is even, and so is a single bin. A bin has at least 1e-6 of the mean
    power, so that a dropped one has a bounded gradient.

    Args:
        power: of each bin, 0 or more.
        counted: bins that are there; None: all.
    """
    there = torch.ones_like(power, dtype=torch.bool) if counted is None else counted
    bins = there.sum(-1)
    mean = torch.where(there, power, 0).sum(-1, keepdim=True) / bins[..., None].clamp_min(1)
    lifted = torch.where(there, power + FAINT * mean + SILENT, 0)
    share = lifted / lifted.sum(-1, keepdim=True).clamp_min(SILENT)
    entropy = -(share * torch.where(there, share, 1).log()).sum(-1)
    most = bins.to(power.dtype).log()
    # One bin has no entropy and could have none: it is as even as can be.
    return torch.where(bins > 1, 1 - entropy / torch.where(bins > 1, most, 1), 0)
