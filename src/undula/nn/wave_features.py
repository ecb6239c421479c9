"""Queries and keys as waves: content sets the frequency and the phase, the position runs through them."""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.ops.phase import full_precision, wide_dtype, wrap_phase
from undula.shapes import Sequence

FASTEST, SLOWEST = 1.0, 0.001
"""Ends of the ladder of frequencies that waves start on, in radians per step."""

MODULATION = 0.01
"""Share of its frequency by which content moves a wave: at position t the phase moves by about 0.01 z omega t."""

SELECTIVE = 10.0
"""Largest argument of the kernel that heads start with: its exponential can be e^10 times that of 0, and select."""

EPS = 1e-6
"""Added to the squared length of W sines, which is about W / 2: a silent head has a finite gradient."""


class WaveFeatures(nn.Module):
    """Maps (B, T, D) at positions t to W waves in each head: u = W^(1/4) s / |s| with s = sin(omega(x) t + phi(x)).

    omega(x) = pi sigmoid(ladder + shift + 0.01 frequency(x)) stays below pi, beyond which waves of whole steps fold
    back. The derivative by a frequency grows with t; the small factor keeps what content does to a late phase mild and
    the learning of it slow, and the ladder keeps most waves slow. Waves start in pairs a quarter turn apart, on one
    frequency, so that the product of a query and a key starts as a function of their distance alone.

    Cost B T N W sines. Frequencies and angles are float64 (the widest the device has), so late positions are as exact
    as early ones; what is learned is added to a fixed ladder, so that bfloat16 parameters hold it.

    Args:
        d_model: width.
        num_heads: heads.
        num_waves: waves in each head.
    """

    def __init__(self, d_model: int, num_heads: int, num_waves: int) -> None:
        super().__init__()
        self.frequency = nn.Linear(d_model, num_heads * num_waves, bias=False)
        self.phase = nn.Linear(d_model, num_heads * num_waves, bias=False)
        self.frequency_shift = nn.Parameter(torch.zeros(num_heads, num_waves))
        self.phase_shift = nn.Parameter(torch.zeros(num_heads, num_waves))

    def forward(self, x: Sequence, positions: Int[Tensor, "#B T"]) -> Float[Tensor, "B N T W"]:
        """Return the waves at the positions, of length num_waves^(1/4), in float32 or wider."""
        dtype, wide = torch.promote_types(x.dtype, torch.float32), wide_dtype(x.device)
        heads, waves = self.phase_shift.shape
        with full_precision(x):
            moved = F.linear(x.to(dtype), self.frequency.weight.to(dtype))
        ladder, quarter = _start(heads, waves, x.device, wide)
        slow = ladder + self.frequency_shift.to(wide) + MODULATION * _by_heads(moved, heads).to(wide)
        turned = wrap_phase(math.pi * slow.sigmoid() * positions[..., None, None])
        shift = quarter.to(dtype) + self.phase_shift.to(dtype)
        wave = torch.sin(turned.to(dtype) + _by_heads(self.phase(x), heads).to(dtype) + shift)
        unit = wave * torch.rsqrt(wave.square().sum(-1, keepdim=True) + EPS)
        return rearrange(waves**0.25 * unit, "b t n w -> b n t w")


class WaveHeads(nn.Module):
    """Maps (B, T, D) to the queries and keys of wave attention, both waves, to values, and to a scale for each head.

    Args:
        d_model: width; a multiple of num_heads.
        num_heads: heads.
        num_waves: waves in each head.
        power: the scale multiplies what is at most num_waves^power, and starts at 10 over that: 1/2 for products of a
            query and a key, 1/4 for single waves.

    Raises:
        ValueError: when heads do not divide the width, or there are no waves.
    """

    def __init__(self, d_model: int, num_heads: int, num_waves: int, power: float) -> None:
        super().__init__()
        check_waves(d_model, num_heads, num_waves)
        self.num_heads = num_heads
        self.query = WaveFeatures(d_model, num_heads, num_waves)
        self.key = WaveFeatures(d_model, num_heads, num_waves)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.log_scale = nn.Parameter(torch.full((num_heads,), math.log(SELECTIVE / num_waves**power)))

    def forward(
        self, x: Sequence, positions: Int[Tensor, "#B T"]
    ) -> tuple[Float[Tensor, "B N T W"], Float[Tensor, "B N T W"], Float[Tensor, "B N T E"]]:
        """Return queries, keys and values; queries and keys in float32 or wider."""
        value = rearrange(self.value(x), "b t (n e) -> b n t e", n=self.num_heads)
        return self.query(x, positions), self.key(x, positions), value

    def scale(self, dtype: torch.dtype) -> Float[Tensor, "N 1 1"]:
        """Return the factor of each head."""
        return self.log_scale.to(dtype).exp()[:, None, None]


def check_waves(d_model: int, num_heads: int, num_waves: int) -> None:
    """Refuse sizes that cannot be.

    Raises:
        ValueError: when heads do not divide the width, or there are no waves.
    """
    if num_heads < 1 or d_model % num_heads:
        raise ValueError(f"d_model={d_model} is not a multiple of num_heads={num_heads}; change one of them")
    if num_waves < 1:
        raise ValueError(f"num_waves={num_waves} is not positive; give each head at least one wave")


def real_positions(
    real: Bool[Tensor, "B T"] | None, seen: Int[Tensor, " B"] | None, x: Sequence
) -> tuple[Int[Tensor, "#B T"], Int[Tensor, " B"]]:
    """Return each step's position, counted from its row's first real token, and the number of real tokens by the end.

    Args:
        real: True at real tokens; None: all are.
        seen: real tokens of each row in earlier pieces; None: there is no earlier piece.
        x: the piece.
    """
    if real is None:
        steps = torch.arange(x.shape[1], device=x.device)[None]
        if seen is None:
            return steps, steps.new_full((len(x),), x.shape[1])
        return steps + seen[:, None], seen + x.shape[1]
    count = real.long().cumsum(1)
    count = count if seen is None else count + seen[:, None]
    return (count - 1).clamp_min(0), real.long().sum(1) if seen is None else seen + real.long().sum(1)


def _by_heads(x: Float[Tensor, "B T NW"], heads: int) -> Float[Tensor, "B T N W"]:
    return rearrange(x, "b t (n w) -> b t n w", n=heads)


def _start(
    heads: int, waves: int, device: torch.device, dtype: torch.dtype
) -> tuple[Float[Tensor, "N W"], Float[Tensor, " W"]]:
    """The frequencies' start before the sigmoid, falling through all heads' pairs, and phases 0 and pi / 2 in turns.

    Made when needed, not kept: a buffer would be rounded by a cast of the module to bfloat16.
    """
    wave = torch.arange(waves, device=device)
    rung = (wave // 2) * heads + torch.arange(heads, device=device)[:, None]
    share = rung.to(dtype) / max((waves + 1) // 2 * heads - 1, 1)
    return torch.logit(FASTEST / math.pi * (SLOWEST / FASTEST) ** share), (wave % 2).to(dtype) * (math.pi / 2)
