"""Rotary positions: pairs of channels turned by an angle proportional to the position."""

import torch
from jaxtyping import Float
from torch import Tensor

from undula.ops.phase import wide_dtype


def rotary_table(
    first: int, length: int, width: int, base: float, device: torch.device, dtype: torch.dtype
) -> tuple[Float[Tensor, "T half"], Float[Tensor, "T half"]]:
    """Return cos and sin of position * base^(-2j / width) for positions first .. first + length - 1.

    Angles are formed in float64 (the widest the device has), so that position 200,000 is as exact as position 0.

    Source: Su et al., "RoFormer", arXiv 2104.09864.
    """
    wide = wide_dtype(device)
    step = base ** (-torch.arange(0, width, 2, device=device, dtype=wide) / width)
    angle = torch.arange(first, first + length, device=device, dtype=wide)[:, None] * step
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(
    x: Float[Tensor, "B N T E"], cos: Float[Tensor, "T half"], sin: Float[Tensor, "T half"]
) -> Float[Tensor, "B N T E"]:
    """Return x with channel j and channel j + E/2 turned as a pair by the table's angle j."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
