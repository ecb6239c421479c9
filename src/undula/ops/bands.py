"""Harmonics in overlapping bands: windows that sum to one, slices of a representation, and the sum of slices."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Span = tuple[int, int]
"""First harmonic, and the one after the last."""


def band_ranges(num_harmonics: int, boundaries: Sequence[float]) -> tuple[Span, ...]:
    """Return the harmonics of each band, [floor(b_i H), floor(b_(i+1) H)), lowest band first.

    Args:
        num_harmonics: H.
        boundaries: shares of the harmonics, between 0 and 1, increasing.

    Raises:
        ValueError: for no boundary, boundaries that do not increase, or a band without a harmonic.
    """
    if not boundaries or any(b <= a for a, b in zip((0.0, *boundaries), (*boundaries, 1.0), strict=True)):
        raise ValueError(
            f"band_boundaries={list(boundaries)}; wanted at least one share of the harmonics, increasing between 0 and "
            "1, such as [0.2, 0.6]: layers and strides are counted from the lowest band"
        )
    # A share such as 0.29 of 100 is 28.999...: it means 29.
    edges = [0, *(math.floor(b * num_harmonics + 1e-9) for b in boundaries), num_harmonics]
    ranges = tuple(zip(edges[:-1], edges[1:], strict=True))
    for first, end in ranges:
        if first == end:
            raise ValueError(
                f"band_boundaries={list(boundaries)} leave a band without any of the {num_harmonics} harmonics; "
                "move a boundary or take more harmonics"
            )
    return ranges


def band_windows(num_harmonics: int, boundaries: Sequence[float], transition: float) -> list[list[float]]:
    """Return a weight for each band and harmonic; the weights of a harmonic sum to 1.

    w_b(i) = r_b(i) - r_(b+1)(i), where r_b rises from 0 to 1 as sin^2 around the lower edge of band b, r_0 = 1 and r of
    no band = 0: a telescoping sum. Harmonic i stands at i + 1/2.

    Args:
        num_harmonics: H.
        boundaries: as in `band_ranges`.
        transition: half the width of a rise, as a share of the harmonics, at least one harmonic; 0: hard edges.

    Raises:
        ValueError: for a negative transition, and as `band_ranges`.
    """
    if transition < 0:
        raise ValueError(f"transition_width={transition}; wanted 0 (hard edges) or more")
    half = max(transition * num_harmonics, 1.0) if transition else 1e-9
    edges = [first for first, _ in band_ranges(num_harmonics, boundaries)][1:]

    def rise(i: int, edge: int) -> float:
        return math.sin(math.pi / 2 * min(max((i + 0.5 - edge) / (2 * half) + 0.5, 0.0), 1.0)) ** 2

    rises = [[1.0] * num_harmonics, *([rise(i, edge) for i in range(num_harmonics)] for edge in edges)]
    rises.append([0.0] * num_harmonics)
    return [[a - b for a, b in zip(low, high, strict=True)] for low, high in zip(rises[:-1], rises[1:], strict=True)]


def window_span(window: Sequence[float]) -> Span:
    """Return where a window is not zero."""
    inside = [i for i, weight in enumerate(window) if weight > 0]
    return inside[0], inside[-1] + 1


def harmonic_slice(x: Float[Tensor, "B T three_H"], span: Span) -> Float[Tensor, "B T 3 K"]:
    """Return frequencies, amplitudes and phases of some harmonics of a representation [f | A | phi]."""
    return x.unflatten(-1, (3, -1))[..., span[0] : span[1]]


def band_weights(scores: Float[Tensor, "B T bands"], windows: Float[Tensor, "bands H"]) -> Float[Tensor, "B T bands H"]:
    """Return window_b(i) e^score_b over its sum: at each harmonic the weights of the bands sum to 1.

    As a softmax of score + log window, which stays finite whatever the scores are. Every harmonic needs one window that
    is not zero.
    """
    return torch.softmax(scores[..., None] + windows.log(), dim=-2)


def overlap_add(
    bands: Sequence[Float[Tensor, "B T _"]], weights: Float[Tensor, "B T bands H"], spans: Sequence[Span]
) -> Float[Tensor, "B T three_H"]:
    """Return the weighted sum of slices (B, T, 3 K_b), each at its own harmonics."""
    harmonics = weights.shape[-1]
    parts = [
        F.pad(band.unflatten(-1, (3, -1)) * weights[:, :, b, None, first:end], (first, harmonics - end))
        for b, (band, (first, end)) in enumerate(zip(bands, spans, strict=True))
    ]
    return torch.stack(parts).sum(0).flatten(-2)
