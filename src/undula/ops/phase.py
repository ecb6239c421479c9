"""Precision: angles exact for large arguments, and islands that mixed precision leaves alone."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def wide_dtype(device: torch.device) -> torch.dtype:
    """Return the widest float of a device: float64, but float32 on Apple's GPUs, which have no other."""
    return torch.float32 if device.type == "mps" else torch.float64


def full_precision(like: Tensor) -> torch.autocast:
    """Return a context in which matrix products keep the precision of their inputs, whatever autocast says."""
    return torch.autocast(like.device.type, enabled=False)


def cos_sin(
    angle: Float[Tensor, "*shape"], dtype: torch.dtype
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Return cosine and sine of an angle (radians) in `dtype`, the angle reduced to one turn in its own precision."""
    reduced = wrap_phase(angle).to(dtype)
    return reduced.cos(), reduced.sin()


def wrap_phase(phases: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the same angles within half a turn of 0, in radians."""
    return phases - 2 * math.pi * (phases / (2 * math.pi)).round()


def phase_of(sine: Float[Tensor, "*shape"], cosine: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the angle in (-pi, pi] of a direction given as its two coordinates.

    Unlike pi tanh(x) it has no seam: turning the direction on goes past pi without a stop. A direction shorter than
    1e-12 has the angle 0 and the gradient 0, where atan2 alone would give NaN.

    Args:
        sine: the coordinate that is the sine of the angle, of any length.
        cosine: the other one.
    """
    nowhere = sine.square() + cosine.square() < 1e-24
    return torch.atan2(sine.masked_fill(nowhere, 0), cosine.masked_fill(nowhere, 1))
