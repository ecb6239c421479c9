"""Gated convolution with long filters of damped harmonics: an FFT over whole sequences, a recurrence when streaming."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits
from undula.nn.damped_filter import DampedHarmonics
from undula.nn.gate import GatedProduct
from undula.ops.fft import causal_conv
from undula.shapes import PaddingMask, Sequence

PIECE = 2048
"""Longest piece, in steps, that a streaming call transforms at once: bounds its memory."""


@dataclass
class FFTConvState(State):
    """The poles' states and the short convolution's last inputs; the size does not depend on the past's length."""

    poles: Float[Tensor, "B C M 2"]
    recent: Float[Tensor, "B D L"]


@MIXERS.register("fft_conv")
class FFTConv(Mixer):
    """y = out_proj(norm(q) * (h (*) (norm(k) * v))) with q, k, v projections of a short convolution of the input.

    (*) is the causal convolution with a filter h of damped harmonics per channel. Cost T log T; streaming costs a
    constant per step and 2 M C + (taps - 1) D numbers of state, for C filters. Filters run in float32 or wider.

    Args:
        d_model: width.
        num_modes: damped harmonics in each filter.
        short_conv: taps of the short convolution.
        d_inner: number of filters; d_model by default.

    Source: Poli et al., "Hyena Hierarchy", arXiv 2302.10866; Gu et al., arXiv 2206.11893 (the filters).
    """

    traits = Traits(bounded_state=True, cost="T log T", source="Poli et al., Hyena Hierarchy, arXiv 2302.10866")

    residual_axes = {
        **{f"gate.{name}": axis for name, axis in GatedProduct.residual_axes.items()},
        "out_proj.weight": 0,
    }

    def __init__(self, d_model: int, *, num_modes: int = 8, short_conv: int = 4, d_inner: int | None = None) -> None:
        super().__init__()
        self.d_model, self.d_inner = d_model, d_model if d_inner is None else d_inner
        self.gate = GatedProduct(d_model, short_conv, self.d_inner)
        self.filter = DampedHarmonics(self.d_inner, num_modes)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    @classmethod
    def build(
        cls, d_model: int, num_heads: int, *, num_modes: int = 8, short_conv: int = 4, d_inner: int | None = None
    ) -> "FFTConv":
        """Build the mixer; channels have filters of their own, so heads are not used."""
        del num_heads
        return cls(d_model, num_modes=num_modes, short_conv=short_conv, d_inner=d_inner)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Convolve and gate; see `Mixer.forward`. causal=False adds the same filter run backwards."""
        real = None if attention_mask is None else attention_mask.bool()
        if isinstance(state, FFTConvState):
            return self._stream(x, real, state)
        q, u, _ = self.gate(x, real, None)
        h = self.filter.impulse_response(x.shape[1])
        y = causal_conv(u, h)
        if not causal:
            y = y + causal_conv(u.flip(-1), h).flip(-1) - (h[:, :1] * u).to(y.dtype)
        return self.out_proj(q * y.transpose(1, 2))

    def _stream(self, x: Tensor, real: Tensor | None, state: FFTConvState) -> tuple[Sequence, FFTConvState]:
        pieces = []
        for start in range(0, x.shape[1], PIECE):
            here = slice(start, start + PIECE)
            mask = None if real is None else real[:, here]
            q, u, recent = self.gate(x[:, here], mask, state.recent)
            y, poles = self._continue(u.to(state.poles.dtype), state.poles)
            state = FFTConvState(poles, recent)
            pieces.append(self.out_proj(q * y.transpose(1, 2).to(q.dtype)))
        return torch.cat(pieces, dim=1), state

    def _continue(self, u: Tensor, poles: Tensor) -> tuple[Tensor, Tensor]:
        """The filter's output and state for further inputs: one step as a recurrence, more of them by transform."""
        length = u.shape[-1]
        if length == 1:
            y, poles = self.filter.step(u[..., 0], poles)
            return y[..., None], poles
        fresh = causal_conv(u, self.filter.impulse_response(length))
        return fresh + self.filter.ring_out(poles, length), self.filter.absorb(u, poles)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> FFTConvState:
        """Return the state before the first position: silence. The poles' states are float32 or wider."""
        weight = self.out_proj.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        poles = torch.zeros(batch_size, self.d_inner, self.filter.modes, 2, device=device, dtype=wide)
        return FFTConvState(poles, self.gate.short.no_past(batch_size, device, dtype))
