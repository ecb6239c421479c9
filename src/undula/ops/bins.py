"""Bins of a spectrum: means of neighbours, patterns over frequency, and those that a head keeps, out and back."""

import math

import torch
from einops import rearrange
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.nn import functional as F


def pooled(x: Float[Tensor, "*batch F D"], size: int) -> Float[Tensor, "*batch K D"]:
    """Return the means of `size` neighbouring bins, the last ones of fewer where they do not divide."""
    bins = x.shape[-2]
    groups = -(-bins // size)
    sums = F.pad(x, (0, 0, 0, groups * size - bins)).unflatten(-2, (groups, size)).sum(-2)
    counts = (bins - size * torch.arange(groups, device=x.device)).clamp_max(size)
    return sums / counts[:, None]


def stretched(x: Float[Tensor, "*batch K D"], size: int, num_bins: int) -> Float[Tensor, "*batch F D"]:
    """Return each value `size` times in a row, cut to F = num_bins: the inverse of `pooled` on what is constant."""
    return x[..., None, :].expand(*x.shape[:-1], size, x.shape[-1]).flatten(-3, -2)[..., :num_bins, :]


def cosine_patterns(weights: Float[Tensor, "N waves"], frequencies: Float[Tensor, " F"]) -> Float[Tensor, "N F"]:
    """Return sum_j w_nj cos(pi j u), j = 1 .. waves, with u = f / (1/2): half a cycle over the spectrum, one, ...

    Sines of whole cycles would all be 0 at frequency 0 and at the highest; cosines can prefer either.

    Args:
        weights: of each pattern.
        frequencies: in cycles per step, 0 to 1/2.
    """
    number = torch.arange(1, weights.shape[-1] + 1, device=weights.device, dtype=weights.dtype)
    return weights @ torch.cos(2 * math.pi * number[:, None] * frequencies)


def gather_bins(
    spectrum: Complex[Tensor, "*batch F D"], index: Int[Tensor, "*batch N K"]
) -> Complex[Tensor, "*batch N K E"]:
    """Return K bins of each head, whose channels are one of N contiguous groups of E = D / N."""
    rows = _by_head(spectrum, index.shape[-2])
    taken = rows.index_select(0, _rows(index, spectrum.shape[-2]))
    return torch.view_as_complex(taken.unflatten(-1, (-1, 2))).view(*index.shape, -1)


def scatter_bins(
    values: Complex[Tensor, "*batch N K E"], index: Int[Tensor, "*batch N K"], num_bins: int
) -> Complex[Tensor, "*batch F D"]:
    """Return a spectrum of F = num_bins with the bins of each head where `gather_bins` took them, 0 elsewhere.

    A head's indices must differ.
    """
    heads, width = index.shape[-2], values.shape[-1]
    rows = torch.view_as_real(values.resolve_conj()).flatten(-2).flatten(0, -2)
    empty = rows.new_zeros(index.shape[:-2].numel() * num_bins * heads, 2 * width)
    spread = empty.index_copy(0, _rows(index, num_bins), rows)
    whole = torch.view_as_complex(spread.unflatten(-1, (-1, 2)))
    return whole.view(*index.shape[:-2], num_bins, heads * width)


def _by_head(spectrum: Tensor, heads: int) -> Tensor:
    """One row of real numbers for each bin and head."""
    pairs = torch.view_as_real(spectrum.resolve_conj().contiguous())
    return pairs.flatten(-2).unflatten(-1, (heads, -1)).flatten(0, -2)


def _rows(index: Tensor, num_bins: int) -> Tensor:
    """The row of each bin in `_by_head`."""
    heads = index.shape[-2]
    flat = index.reshape(-1, heads, index.shape[-1])
    spectrum = torch.arange(len(flat), device=index.device)[:, None, None] * num_bins
    head = torch.arange(heads, device=index.device)[:, None]
    return rearrange((spectrum + flat) * heads + head, "b n k -> (b n k)")
