"""Fourier transforms as matrix products, for hardware that multiplies matrices faster than it transforms.

A length N = N1 N2 is cut in two: with n = N2 n1 + n2 and k = k1 + N1 k2, transforms of N1 points, a twiddle factor
exp(-2 pi i n2 k1 / N), and transforms of N2 points. Cost N (N1 + N2) products instead of N log N. Numbers are pairs of
real tensors throughout.

Source: Cooley and Tukey (1965); Fu et al., "FlashFFTConv", arXiv 2311.05908 (the same for tensor cores).
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional as F

from undula.ops.phase import full_precision, wide_dtype


def split(n: int) -> tuple[int, int]:
    """Return the two factors of a length that lie nearest to each other, the smaller one first."""
    small = math.isqrt(n)
    while n % small:
        small -= 1
    return small, n // small


def rfft(x: Float[Tensor, "*batch T"], n: int) -> Complex[Tensor, "*batch F"]:
    """Return the non-negative half of the spectrum of x, padded with zeros or cut to n samples.

    Args:
        x: samples, float32 or float64.
        n: points.
    """
    n1, n2 = split(n)
    rows = F.pad(x, (0, n - x.shape[-1])).unflatten(-1, (n1, n2))
    kept = n // 2 // n1 + 1
    with full_precision(x):
        cos, sin = _circle(n1, n1, n1, x)
        re, im = cos @ rows, -(sin @ rows)
        re, im = _turned(re, im, *_circle(n1, n2, n, x), -1)
        cos, sin = _circle(n2, kept, n2, x)
        re, im = re @ cos + im @ sin, im @ cos - re @ sin
    half = (part.transpose(-1, -2).flatten(-2)[..., : n // 2 + 1] for part in (re, im))
    return torch.complex(*half)


def irfft(spectrum: Complex[Tensor, "*batch F"], n: int) -> Float[Tensor, "*batch T"]:
    """Return the n real samples whose `rfft` is `spectrum`.

    Args:
        spectrum: the non-negative half, n // 2 + 1 values.
        n: points.
    """
    n1, n2 = split(n)
    kept = n // 2 // n1 + 1
    parts = torch.view_as_real(spectrum)
    k = torch.arange(n // 2 + 1, device=spectrum.device)
    alone = (k == 0) | (2 * k == n)
    weight = torch.where(alone, 1.0, 2.0).to(parts.dtype) / n
    re, im = (F.pad(part * weight, (0, kept * n1 - n // 2 - 1)) for part in parts.unbind(-1))
    re, im = (part.unflatten(-1, (kept, n1)).transpose(-1, -2) for part in (re, im))
    with full_precision(re):
        cos, sin = _circle(kept, n2, n2, re)
        re, im = re @ cos - im @ sin, im @ cos + re @ sin
        re, im = _turned(re, im, *_circle(n1, n2, n, re), 1)
        cos, sin = _circle(n1, n1, n1, re)
        return (cos @ re - sin @ im).flatten(-2)


def _circle(rows: int, columns: int, n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2 pi i j / n for all rows i and columns j; the product is reduced as an integer, exactly."""
    i, j = torch.arange(rows, device=like.device), torch.arange(columns, device=like.device)
    angle = (i[:, None] * j % n).to(wide_dtype(like.device)) * (2 * math.pi / n)
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def _turned(re: Tensor, im: Tensor, cos: Tensor, sin: Tensor, sign: int) -> tuple[Tensor, Tensor]:
    """The product with cos + i sign sin."""
    return re * cos - sign * im * sin, im * cos + sign * re * sin
