"""What attention by interference hears: amplitudes, phases and frequencies of waves, projected from the content."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.ops.phase import full_precision, wide_dtype, wrap_phase
from undula.shapes import Sequence

FASTEST, SLOWEST = 1.0, 0.001
"""Ends of the ladder of frequencies that evolving waves start on, in radians per step."""

MODULATION = 0.01
"""How far content moves the logarithm of a frequency: at a late position t a phase moves by 0.01 z omega t."""


def amplitudes(layer: nn.Linear, x: Sequence, num_heads: int) -> Float[Tensor, "B N T W"]:
    """Return softplus of a projection, by heads, in float32 or wider."""
    return _by_heads(F.softplus(_projected(layer, x)), num_heads)


def angles(layer: nn.Linear, x: Sequence, num_heads: int) -> Float[Tensor, "B N T W"]:
    """Return a projection by heads, in float32 or wider also under autocast: an angle has no digits to spare."""
    return _by_heads(_projected(layer, x), num_heads)


def _projected(layer: nn.Linear, x: Sequence) -> Float[Tensor, "B T NW"]:
    dtype = torch.promote_types(x.dtype, torch.float32)
    bias = None if layer.bias is None else layer.bias.to(dtype)
    with full_precision(x):
        return F.linear(x.to(dtype), layer.weight.to(dtype), bias)


def _by_heads(x: Float[Tensor, "B T NW"], num_heads: int) -> Float[Tensor, "B N T W"]:
    return rearrange(x, "b t (n w) -> b n t w", n=num_heads)


def evolved_phase(
    phase: Float[Tensor, "B N T W"],
    frequency: Float[Tensor, "B N T W"],
    shift: Float[Tensor, "N W"],
    positions: Int[Tensor, "#B T"],
) -> Float[Tensor, "B N T W"]:
    """Return omega t + phase within half a turn of 0, with omega = ladder exp(shift + 0.01 frequency).

    A frequency that content sets freely would scramble the phases at late positions, where d phase / d omega = t; so it
    multiplies a fixed ladder, fast to slow through all waves of all heads. Angles are formed in float64.

    Args:
        phase: in radians, at time 0.
        frequency: what content says of the frequency; dimensionless.
        shift: what is learned of it without content; dimensionless.
        positions: t, in steps.
    """
    heads, waves = shift.shape
    wide = wide_dtype(phase.device)
    # Made when needed: a buffer would be rounded by a cast of the module to bfloat16.
    rung = torch.arange(waves * heads, device=phase.device, dtype=wide).view(waves, heads).T / max(waves * heads - 1, 1)
    moved = shift.to(wide)[:, None] + MODULATION * frequency.to(wide)
    omega = FASTEST * (SLOWEST / FASTEST) ** rung[:, None] * moved.exp()
    return wrap_phase(omega * positions[:, None, :, None] + phase.to(wide)).to(phase.dtype)
