"""A bank of long filters made of damped harmonics."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.ops import harmonics
from undula.ops.phase import full_precision

SMALL = 0.04
"""Size that the harmonics start with, beside a direct path of 1."""


class DampedHarmonics(nn.Module):
    """One impulse response per channel, h(t) = direct [t = 0] + sum_m Re[c_m exp((-decay_m + i frequency_m) t)].

    The harmonics start small beside the direct path, which is 1: memory is learnt where it helps. The decays start
    spread from half a step's forgetting to hundreds of steps of memory, the frequencies over [0, pi) radians per step,
    slow channels first.

    Args:
        channels: number of filters.
        modes: damped harmonics in each.
        slowest: smallest starting decay, per step; 1 / slowest is the longest memory at the start.
    """

    def __init__(self, channels: int, modes: int, slowest: float = 0.002) -> None:
        super().__init__()
        spread = math.log(0.5) + math.log(slowest / 0.5) * torch.arange(modes) / max(modes - 1, 1)
        self.log_decay = nn.Parameter(spread + 0.2 * torch.randn(channels, modes))
        across = torch.arange(channels)[:, None] / max(channels - 1, 1)
        self.frequency = nn.Parameter(math.pi * torch.rand(channels, modes) * across)
        size, angle = SMALL * torch.randn(channels, modes) / math.sqrt(modes), 2 * math.pi * torch.rand(channels, modes)
        self.gain = nn.Parameter(torch.stack([size * angle.cos(), size * angle.sin()], dim=-1))
        self.direct = nn.Parameter(torch.ones(channels))

    @property
    def modes(self) -> int:
        """Number of damped harmonics in each filter."""
        return self.log_decay.shape[1]

    def _parts(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decay, frequency and gain in the precision of the filter: float32 at least."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        return self.log_decay.to(dtype).exp(), self.frequency.to(dtype), self.gain.to(dtype)

    def impulse_response(self, length: int) -> Float[Tensor, "C T"]:
        """Return the first `length` values of every filter."""
        with full_precision(self.gain):
            h = harmonics.impulse_response(*self._parts(self.gain), length)
            return h + F.pad(self.direct.to(h.dtype)[:, None], (0, length - 1))

    def step(
        self, u: Float[Tensor, "B C"], state: Float[Tensor, "B C M 2"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C M 2"]]:
        """Return one output of each filter and the next state."""
        with full_precision(u):
            y, state = harmonics.step(u, state, *self._parts(u))
            return y + self.direct.to(y.dtype) * u, state

    def ring_out(self, state: Float[Tensor, "B C M 2"], length: int) -> Float[Tensor, "B C T"]:
        """Return what the past adds to the next outputs."""
        with full_precision(state):
            return harmonics.ring_out(state, *self._parts(state), length)

    def absorb(self, u: Float[Tensor, "B C T"], state: Float[Tensor, "B C M 2"]) -> Float[Tensor, "B C M 2"]:
        """Return the state after further inputs."""
        decay, frequency, _ = self._parts(u)
        with full_precision(u):
            return harmonics.absorb(u, state, decay, frequency)
