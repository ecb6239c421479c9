"""Half waves over an interval or a rectangle: spectra that do not wrap around, filters and samples of any resolution.

A signal of `size` samples is continued by its mirror image at both ends, and repeats after 2 size. What is left of its
Fourier series are cosines cos(pi k u) at u = (i + 1/2) / size: no end meets the other one, and no border is dark. The
amplitude of a wave does not depend on how finely it is sampled.

Transforms are products with tables, since few waves are wanted of many samples: cost size x count for each channel.
"""

import math

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from undula.ops.phase import wide_dtype

Grid = tuple[int, int]
"""Rows and columns."""


def half_waves(
    size: int, count: int, *, device: torch.device, dtype: torch.dtype, sines: bool = False
) -> Float[Tensor, "K N"]:
    """Return cos(pi k (i + 1/2) / size), or sines, for waves k = 0 .. count - 1 at samples i = 0 .. size - 1."""
    k, i = torch.arange(count, device=device)[:, None], torch.arange(size, device=device)
    # The product is reduced as an integer, exactly.
    angle = (k * (2 * i + 1) % (4 * size)).to(wide_dtype(device)) * (math.pi / (2 * size))
    return (angle.sin() if sines else angle.cos()).to(dtype)


def analysis(size: int, count: int, *, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "K N"]:
    """Return the table that gives the amplitudes of a signal's cosines: 2 / size cos(...), half of it for k = 0."""
    weight = torch.full((count, 1), 2 / size, device=device, dtype=dtype)
    weight[:1] /= 2
    return weight * half_waves(size, count, device=device, dtype=dtype)


def grid_amplitudes(x: Float[Tensor, "B R C D"], rows: int, columns: int) -> Float[Tensor, "B K L D"]:
    """Return the amplitudes of cos(pi k v) cos(pi l u), k < rows and l < columns, of each channel of an image."""
    to = {"device": x.device, "dtype": x.dtype}
    # Rows first: one product with all columns and channels side by side.
    by_rows = (analysis(x.shape[1], rows, **to) @ x.flatten(2)).unflatten(2, x.shape[2:])
    return analysis(x.shape[2], columns, **to) @ by_rows


def grid_samples(amplitudes: Float[Tensor, "B P K Q L D"], grid: Grid) -> Float[Tensor, "B R C D"]:
    """Return an image made of waves, sum of a[p, k, q, l] f_p(pi k v) f_q(pi l u) with f_0 = cos and f_1 = sin.

    Args:
        amplitudes: P and Q are 1 for cosines alone, 2 for cosines and sines.
        grid: samples wanted.
    """
    a = amplitudes
    down, across = (_parts(n, a.shape[i], a.shape[i + 1], a) for n, i in zip(grid, (1, 3), strict=True))
    by_rows = (down @ a.flatten(3).flatten(1, 2)).unflatten(2, (-1, a.shape[-1]))
    return across @ by_rows


def _parts(size: int, parts: int, count: int, like: Tensor) -> Float[Tensor, "N PK"]:
    """The table from amplitudes of cosines, then sines where there are two parts, to samples."""
    tables = [
        half_waves(size, count, device=like.device, dtype=like.dtype, sines=sines) for sines in (False, True)[:parts]
    ]
    return torch.cat(tables).T


def unit(grid: Grid) -> float:
    """Return the length that frequencies and coordinates count in, in cells: the side of a square of equal area."""
    return math.sqrt(grid[0] * grid[1])


def wave_counts(grid: Grid, modes: int) -> Grid:
    """Return how many waves down and across a grid has below `modes` half waves in a `unit`: never more than cells."""
    return tuple(min(n, max(1, math.ceil(modes * n / unit(grid) - 1e-9))) for n in grid)  # type: ignore[return-value]


def wave_frequencies(
    size: int, count: int, length: float, *, device: torch.device, dtype: torch.dtype
) -> Float[Tensor, " K"]:
    """Return the frequencies of half waves over `size` cells, in half waves in a `length` of cells."""
    return torch.arange(count, device=device, dtype=dtype) * (length / size)


def interpolated(
    response: Float[Tensor, "P Q M M2 D"], down: Float[Tensor, " K"], across: Float[Tensor, " L"]
) -> Float[Tensor, "P K Q L D"]:
    """Return a response that is known at whole frequencies 0 .. M - 1 at others, linear in between, 0 from M on.

    Args:
        response: of each channel.
        down: frequencies along the first axis.
        across: frequencies along the second.
    """
    by_row, by_column = (
        (1 - (f[:, None] - torch.arange(n, device=f.device)).abs()).clamp_min(0)
        for f, n in zip((down, across), response.shape[2:4], strict=True)
    )
    return einsum(response, by_row, by_column, "p q m n d, k m, l n -> p k q l d")


def masked_amplitudes(
    x: Float[Tensor, "B S D"], waves: int, real: Bool[Tensor, "B S"] | None = None
) -> Float[Tensor, "B K D"]:
    """Return the amplitudes of the first waves of the series of cosines through each row's real positions.

    Real position number i of n stands at (i + 1/2) / n of the interval. Waves that n positions do not carry are 0, and
    so are all of a row without a real position. Cost S K D.

    Args:
        x: sequences.
        waves: K; beyond S there are none.
        real: True at real positions, which count as neighbours whatever lies between them; None: all.
    """
    if real is None:
        carried = analysis(x.shape[1], min(waves, x.shape[1]), device=x.device, dtype=x.dtype) @ x
        return F.pad(carried, (0, 0, 0, waves - carried.shape[1]))
    count, place = real.sum(1)[:, None, None].clamp_min(1), real.cumsum(1)[:, None] - 1
    k = torch.arange(waves, device=x.device)[:, None]
    angle = (k * (2 * place + 1) % (4 * count)).to(wide_dtype(x.device)) * (math.pi / 2) / count
    doubled = torch.where(k == 0, 1, 2)
    table = torch.where(real[:, None] & (k < count), angle.cos() * doubled / count, 0.0).to(x.dtype)
    return table @ torch.where(real[..., None], x, 0.0)


def resampled(
    x: Float[Tensor, "B S D"], length: int, real: Bool[Tensor, "B S"] | None = None
) -> Float[Tensor, "B N D"]:
    """Return `length` samples of the series of cosines through each row's real positions: a band-limited resampling.

    Sample j of N stands at (j + 1/2) / N of the interval. Waves that fewer positions or fewer samples do not carry are
    left out, as the end of a spectrum is cut off or filled up with zeros: exact for what min(n, N) waves make.

    Args:
        x: sequences.
        length: N.
        real: as in `masked_amplitudes`.
    """
    return half_waves(length, length, device=x.device, dtype=x.dtype).T @ masked_amplitudes(x, length, real)


def turned(
    amplitudes: Float[Tensor, "B K D"], angles: Float[Tensor, "B K D"]
) -> tuple[Float[Tensor, "B K D"], Float[Tensor, "B K D"]]:
    """Return the amplitudes of cosines and of sines of waves that come later by angles, in radians.

    a cos(pi k u - theta) = a cos(theta) cos(pi k u) + a sin(theta) sin(pi k u): the number a is multiplied by
    e^(i theta), so its size stays. Wave 0, which has no phase, stays as it is.
    """
    real, imag = angles.cos() * amplitudes, angles.sin() * amplitudes
    return torch.cat([amplitudes[:, :1], real[:, 1:]], 1), torch.cat([torch.zeros_like(imag[:, :1]), imag[:, 1:]], 1)


def samples(cosines: Float[Tensor, "B K D"], sines: Float[Tensor, "B K D"], length: int) -> Float[Tensor, "B N D"]:
    """Return the sum of cosines and sines at the middles of `length` parts of the interval."""
    to = {"device": cosines.device, "dtype": cosines.dtype}
    waves = half_waves(length, cosines.shape[1], **to), half_waves(length, sines.shape[1], **to, sines=True)
    return waves[0].T @ cosines + waves[1].T @ sines
