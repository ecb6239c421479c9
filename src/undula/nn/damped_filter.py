"""A bank of long filters made of damped harmonics."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.ops import harmonics
from undula.ops.fft import causal_conv, two_sided_conv
from undula.ops.phase import full_precision

SMALL = 0.04
"""Size that the harmonics start with, beside a direct path of 1."""

LOUD = 0.5
"""Size that a harmonic with a memory starts with."""

LONG = 4096
"""Longest sequence, in steps, that is filtered by one transform; a longer one is cut into chunks that carry a state."""


class DampedHarmonics(nn.Module):
    """One impulse response per channel, h(t) = direct [t = 0] + sum_m Re[c_m exp((-decay_m + i frequency_m) t)].

    The harmonics start small beside the direct path, which is 1: memory is learnt where it helps. The decays start
    spread from half a step's forgetting to hundreds of steps of memory, the frequencies over [0, pi) radians per step,
    slow channels first.

    Args:
        channels: number of filters.
        modes: damped harmonics in each.
        slowest: smallest starting decay, per step; 1 / slowest is the longest memory at the start.
        band: which band of decays each filter starts in, 0 the fastest; None: all filters start over all decays.
        num_bands: how many bands the decays are cut into, equal on a logarithmic scale.
        memory: steps that the last harmonic of every filter remembers at the start, loudly and without oscillation, so
            that something far away can be recalled; its frequency counts in 1 / memory radians per step, or one update
            would turn it by many radians over such a distance. 0: it is like the others.
        phase_aware: the harmonics have phases of their own; False: all are cosines, c_m is real.
    """

    def __init__(
        self,
        channels: int,
        modes: int,
        slowest: float = 0.002,
        *,
        band: Int[Tensor, " C"] | None = None,
        num_bands: int = 1,
        memory: float = 0.0,
        phase_aware: bool = True,
    ) -> None:
        super().__init__()
        if memory < 0:
            raise ValueError(f"memory={memory}; wanted a number of steps, or 0 for filters that forget")
        self.memory, self.phase_aware = memory, phase_aware
        place = torch.arange(modes) / max(modes - 1, 1)
        place = place if band is None else (band[:, None] + place) / num_bands
        spread = math.log(0.5) + math.log(slowest / 0.5) * place
        self.log_decay = nn.Parameter(spread + 0.2 * torch.randn(channels, modes))
        across = torch.arange(channels)[:, None] / max(channels - 1, 1)
        self.frequency = nn.Parameter(math.pi * torch.rand(channels, modes) * across)
        size, angle = SMALL * torch.randn(channels, modes) / math.sqrt(modes), 2 * math.pi * torch.rand(channels, modes)
        pairs = torch.stack([size * angle.cos(), size * angle.sin()], dim=-1)
        self.gain = nn.Parameter(pairs if phase_aware else size[..., None])
        self.direct = nn.Parameter(torch.ones(channels))
        if memory:
            with torch.no_grad():
                self.log_decay[:, -1], self.frequency[:, -1] = -math.log(memory), 0.0
                self.gain[:, -1] = F.pad(LOUD * torch.randn(channels)[:, None], (0, self.gain.shape[-1] - 1))

    @property
    def modes(self) -> int:
        """Number of damped harmonics in each filter."""
        return self.log_decay.shape[1]

    def _parts(self, like: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decay, frequency, gain and direct path in the precision of the filter: float32 at least."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        frequency = self.frequency.to(dtype)
        if self.memory:
            frequency = torch.cat([frequency[:, :-1], frequency[:, -1:] / self.memory], dim=1)
        gain = self.gain.to(dtype)
        if not self.phase_aware:
            gain = F.pad(gain, (0, 1))
        direct = self.direct.to(dtype)
        if scale is not None:
            gain, direct = gain * scale[:, None, None], direct * scale
        return self.log_decay.to(dtype).exp(), frequency, gain, direct

    def impulse_response(self, length: int, scale: Float[Tensor, " C"] | None = None) -> Float[Tensor, "C T"]:
        """Return the first `length` values of every filter, each times a number of its own if `scale` is given."""
        with full_precision(self.gain):
            decay, frequency, gain, direct = self._parts(self.gain, scale)
            h = harmonics.impulse_response(decay, frequency, gain, length)
            return h + F.pad(direct[:, None], (0, length - 1))

    def forward(
        self, u: Float[Tensor, "B C T"], causal: bool = True, scale: Float[Tensor, " C"] | None = None
    ) -> Float[Tensor, "B C T"]:
        """Return the filtered sequence, in the type of u.

        Args:
            u: the sequence.
            causal: False adds the same filters run backwards.
            scale: what each filter is multiplied by; None: nothing.
        """
        if u.shape[-1] <= LONG:
            h = self.impulse_response(u.shape[-1], scale)
            return causal_conv(u, h) if causal else two_sided_conv(u, h)
        y, _ = self._convolve(u, None, scale)
        if causal:
            return y
        back, _ = self._convolve(u.flip(-1), None, scale)
        return y + back.flip(-1) - (self.impulse_response(1, scale) * u).to(y.dtype)

    def resume(
        self, u: Float[Tensor, "B C T"], state: Float[Tensor, "B C M 2"], scale: Float[Tensor, " C"] | None = None
    ) -> tuple[Float[Tensor, "B C T"], Float[Tensor, "B C M 2"]]:
        """Return the next piece of a filtered sequence, in the type of u, and the state after it."""
        if u.shape[-1] > 1:
            return self._convolve(u, state, scale)
        y, state = self.step(u[..., 0].to(state.dtype), state, scale)
        return y[..., None].to(u.dtype), state

    def _convolve(self, u: Tensor, state: Tensor | None, scale: Tensor | None) -> tuple[Tensor, Tensor]:
        wide = u.to(torch.promote_types(u.dtype, torch.float32))
        with full_precision(u):
            y, state = harmonics.convolve(wide, state, *self._parts(wide, scale))
        return y.to(u.dtype), state

    def silence(
        self, batch_size: int, device: torch.device | None, dtype: torch.dtype | None
    ) -> Float[Tensor, "B C M 2"]:
        """Return the state before the first position, float32 or wider."""
        wide = torch.promote_types(dtype or self.gain.dtype, torch.float32)
        channels, modes = self.log_decay.shape
        return torch.zeros(batch_size, channels, modes, 2, device=device or self.gain.device, dtype=wide)

    def step(
        self, u: Float[Tensor, "B C"], state: Float[Tensor, "B C M 2"], scale: Float[Tensor, " C"] | None = None
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C M 2"]]:
        """Return one output of each filter and the next state."""
        with full_precision(u):
            decay, frequency, gain, direct = self._parts(u, scale)
            y, state = harmonics.step(u, state, decay, frequency, gain)
            return y + direct.to(y.dtype) * u, state
