"""Filters for `ops.wavelet`: PyWavelets' by name, and learned ones that reconstruct whatever is learned.

All are in float64. A pair of taps (2, L), low pass first, is written so that y_c(n) = sum_k taps_c(k) x(2 n + k).
"""

import math
from typing import NamedTuple

import pywt
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from undula.names import unknown_name


class Filters(NamedTuple):
    """Filters that take apart, and those that put together."""

    analysis: Float[Tensor, "2 L"]
    synthesis: Float[Tensor, "2 L"]


def wavelet_names() -> list[str]:
    """Return the names of all wavelets that have filters, orthogonal and biorthogonal ones."""
    return pywt.wavelist(kind="discrete")  # pyright: ignore[reportAttributeAccessIssue]


def named_filters(name: str) -> Filters:
    """Return the filters, on the CPU, of a wavelet such as db4, sym8, coif2, bior4.4 or dmey, as PyWavelets has them.

    They reconstruct to the precision of their taps: about 1e-12, dmey (which is cut off) 1e-3.

    Raises:
        ValueError: for an unknown name; suggests the nearest.
    """
    known = wavelet_names()
    if name not in known:
        raise unknown_name("wavelet", name, known)
    wavelet = pywt.Wavelet(name)  # pyright: ignore[reportAttributeAccessIssue]
    analysis = torch.tensor([wavelet.dec_lo[::-1], wavelet.dec_hi[::-1]], dtype=torch.float64, device="cpu")
    synthesis = torch.tensor([wavelet.rec_lo, wavelet.rec_hi], dtype=torch.float64, device="cpu")
    return Filters(analysis, synthesis)


def is_orthogonal(filters: Filters) -> bool:
    """Return whether the same filters take apart and put together, the high pass being the low pass reversed."""
    low, high = filters.synthesis
    same = torch.allclose(filters.analysis, filters.synthesis, rtol=0, atol=1e-9)
    return same and torch.allclose(_high_pass(low), high, rtol=0, atol=1e-9)


def lattice_filters(angles: Float[Tensor, " K"]) -> Float[Tensor, "2 taps"]:
    """Return orthogonal filters of 2 K + 2 taps: a chain of rotations (radians) with a delay between two of them.

    lo_k = cos a_k lo_(k-1) + sin a_k z^-2 hi_(k-1), hi_k = cos a_k z^-2 hi_(k-1) - sin a_k lo_(k-1), from
    lo_0 = (cos b, sin b), hi_0 = (sin b, -cos b). The first angle is b = pi / 4 + sum of the others: whatever they are,
    the details of a constant are zero. No angle: Haar's filters. One and the same pair analyses and synthesises.

    Source: Vaidyanathan and Hoang, IEEE ASSP 36 (1988) 81.
    """
    first = math.pi / 4 + angles.sum()
    low, high = torch.stack([first.cos(), first.sin()]), torch.stack([first.sin(), -first.cos()])
    for angle in angles:
        kept, delayed = F.pad(low, (0, 2)), F.pad(high, (2, 0))
        low = angle.cos() * kept + angle.sin() * delayed
        high = angle.cos() * delayed - angle.sin() * kept
    return torch.stack([low, high])


def lattice_angles(taps: Float[Tensor, "2 taps"]) -> Float[Tensor, " K"]:
    """Return the angles of orthogonal filters, so that `lattice_filters` makes them again.

    Raises:
        ValueError: for filters that are not orthogonal, or do not kill a constant.
    """
    low, high = taps.to(torch.float64).unbind()
    found = []
    while len(low) > 2:
        # Of the two ends, which give the same angle, the one that is not lost in rounding.
        if low[0].hypot(high[0]) > low[-1].hypot(high[-1]):
            angle = torch.atan2(-high[0] * low[0].sign(), low[0].abs())
        else:
            angle = torch.atan2(low[-1] * high[-1].sign(), high[-1].abs())
        found.append(angle)
        low, high = (
            (angle.cos() * low - angle.sin() * high)[:-2],
            (angle.sin() * low + angle.cos() * high)[2:],
        )
    angles = torch.stack(found[::-1]) if found else taps.new_zeros(0, dtype=torch.float64)
    error = (lattice_filters(angles) - taps).abs().max().item()
    if error > 1e-5:
        raise ValueError(
            f"no rotations make these filters (they miss by {error:.1e}); wanted orthogonal ones, the high pass "
            "killing a constant: lift other ones"
        )
    return angles


def lift(
    approx: Float[Tensor, "*batch M"],
    detail: Float[Tensor, "*batch M"],
    predict: Float[Tensor, " odd"],
    update: Float[Tensor, " odd"],
) -> tuple[Float[Tensor, "*batch M"], Float[Tensor, "*batch M"]]:
    """Return one level's coefficients, the details less what approximations predict, and approximations updated.

    d'(n) = d(n) - sum_k predict_k a(n + k), a'(n) = a(n) + sum_k update_k d'(n + k), k around 0, zeros outside.
    `unlift` undoes it whatever the weights are; zeros change nothing.

    Raises:
        ValueError: for an even number of weights, which have no middle.

    Source: Sweldens, SIAM J. Math. Anal. 29 (1998) 511.
    """
    detail = detail - _weighted(predict, approx)
    return approx + _weighted(update, detail), detail


def unlift(
    approx: Float[Tensor, "*batch M"],
    detail: Float[Tensor, "*batch M"],
    predict: Float[Tensor, " odd"],
    update: Float[Tensor, " odd"],
) -> tuple[Float[Tensor, "*batch M"], Float[Tensor, "*batch M"]]:
    """Return the coefficients that `lift` was given."""
    approx = approx - _weighted(update, detail)
    return approx, detail + _weighted(predict, approx)


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """The sum over k of weights_k values(n + k), k around 0."""
    if len(weights) % 2 == 0:
        raise ValueError(f"{len(weights)} weights; wanted an odd number, the middle one for the same place")
    around = F.pad(values, (len(weights) // 2, len(weights) // 2)).unfold(-1, len(weights), 1)
    return (around * weights.to(values)).sum(-1)


def _high_pass(low: Tensor) -> Tensor:
    """(-1)^k low(L - 1 - k)."""
    signs = 1 - 2 * (torch.arange(len(low), device=low.device) % 2)
    return low.flip(0) * signs
