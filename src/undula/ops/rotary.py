"""Rotary positions: pairs of channels turned by an angle proportional to the position."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from undula.ops.phase import wide_dtype

SLOW, FAST = 1.0, 32.0
"""Turns within the trained length below which a pair is slowed in full, and above which it is left alone."""


def rotary_table(
    first: int,
    length: int,
    width: int,
    base: float,
    device: torch.device,
    dtype: torch.dtype,
    *,
    scale: float = 1.0,
    trained: int = 512,
) -> tuple[Float[Tensor, "T half"], Float[Tensor, "T half"]]:
    """Return cos and sin of position * base^(-2j / width) for positions first .. first + length - 1.

    With a scale above 1 a model made for `trained` steps reads scale times as many (YaRN): pairs that turn less than
    once in `trained` steps turn slower by the scale, those that turn more than 32 times keep their pace, those between
    are blended by the number of turns; cos and sin grow by 0.1 ln(scale) + 1, which sharpens the softmax.

    Angles are formed in float64 (the widest the device has), so that position 200,000 is as exact as position 0.

    Args:
        first: first position.
        length: number of positions.
        width: channels of a head.
        base: slowest wavelength over 2 pi, in steps.
        device: of the table.
        dtype: of the table.
        scale: how many times longer sequences may be; 1 changes nothing.
        trained: length of sequences before, in steps.

    Raises:
        ValueError: for a scale below 1 or no trained steps.

    Source: Su et al., "RoFormer", arXiv 2104.09864; Peng et al., "YaRN", arXiv 2309.00071, section 3.
    """
    if scale < 1 or trained < 1:
        raise ValueError(f"got scale={scale} and trained={trained}; wanted at least 1 each")
    wide = wide_dtype(device)
    step = base ** (-torch.arange(0, width, 2, device=device, dtype=wide) / width)
    if scale > 1:
        turns = trained * step / (2 * math.pi)
        kept = ((turns - SLOW) / (FAST - SLOW)).clamp(0, 1)
        step = step * (kept + (1 - kept) / scale)
    angle = torch.arange(first, first + length, device=device, dtype=wide)[:, None] * step
    size = 0.1 * math.log(scale) + 1
    return (size * angle.cos()).to(dtype), (size * angle.sin()).to(dtype)


def rotate(
    x: Float[Tensor, "B N T E"], cos: Float[Tensor, "T half"], sin: Float[Tensor, "T half"]
) -> Float[Tensor, "B N T E"]:
    """Return x with channel j and channel j + E/2 turned as a pair by the table's angle j."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def rotate_at(x: Float[Tensor, "B T N E"], positions: Int[Tensor, "B T"], base: float) -> Float[Tensor, "B T N E"]:
    """Return x with channel j and channel j + E/2 turned as a pair by position * base^(-2j / E).

    Rows may stand at different positions. Angles are formed in float64 (the widest the device has).

    Args:
        x: queries or keys.
        positions: of each row and step.
        base: slowest wavelength over 2 pi, in steps.
    """
    width, wide = x.shape[-1], wide_dtype(x.device)
    step = base ** (-torch.arange(0, width, 2, device=x.device, dtype=wide) / width)
    angle = positions[..., None, None].to(wide) * step
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
