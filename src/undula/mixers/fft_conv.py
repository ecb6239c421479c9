"""Gated convolution with long filters of damped harmonics: an FFT over whole sequences, a recurrence when streaming."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, in_pieces, is_long
from undula.nn.damped_filter import DampedHarmonics
from undula.nn.gate import GatedProduct
from undula.shapes import PaddingMask, Sequence


@dataclass
class FFTConvState(State):
    """The poles' states and the short convolution's last inputs; the size does not depend on the past's length."""

    poles: Float[Tensor, "B C M 2"]
    recent: Float[Tensor, "B D L"]


@MIXERS.register("fft_conv")
class FFTConv(Mixer):
    """y = out_proj(norm(q) * (h (*) (norm(k) * v))) with q, k, v projections of a short convolution of the input.

    (*) is the causal convolution with a filter h of damped harmonics per channel. Cost T log(T), T for long
    sequences; streaming costs a constant per step and 2 M C + (taps - 1) D numbers of state, for C filters. Filters
    run in float32 or wider.

    Args:
        d_model: width.
        num_modes: damped harmonics in each filter.
        short_conv: taps of the short convolution.
        d_inner: number of filters; d_model by default.
        memory: steps that one harmonic of each filter remembers at the start, instead of hundreds; 0: none does.

    Source: Poli et al., "Hyena Hierarchy", arXiv 2302.10866; Gu et al., arXiv 2206.11893 (the filters).
    """

    traits = Traits(bounded_state=True, cost="T", source="Poli et al., Hyena Hierarchy, arXiv 2302.10866")

    residual_axes = {
        **{f"gate.{name}": axis for name, axis in GatedProduct.residual_axes.items()},
        "out_proj.weight": 0,
    }

    def __init__(
        self,
        d_model: int,
        *,
        num_modes: int = 8,
        short_conv: int = 4,
        d_inner: int | None = None,
        memory: float = 0.0,
    ) -> None:
        super().__init__()
        self.d_model, self.d_inner = d_model, d_model if d_inner is None else d_inner
        self.gate = GatedProduct(d_model, short_conv, self.d_inner)
        self.filter = DampedHarmonics(self.d_inner, num_modes, memory=memory)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    @classmethod
    def build(
        cls,
        d_model: int,
        num_heads: int,
        *,
        num_modes: int = 8,
        short_conv: int = 4,
        d_inner: int | None = None,
        memory: float = 0.0,
    ) -> "FFTConv":
        """Build the mixer; channels have filters of their own, so heads are not used."""
        del num_heads
        return cls(d_model, num_modes=num_modes, short_conv=short_conv, d_inner=d_inner, memory=memory)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Convolve and gate; see `Mixer.forward`. causal=False adds the same filter run backwards."""
        real = None if attention_mask is None else attention_mask.bool()
        if isinstance(state, FFTConvState):
            return in_pieces(self._resume, x, real, state)
        if causal and is_long(x):
            y, _ = in_pieces(self._resume, x, real, self.init_state(len(x), device=x.device, dtype=x.dtype))
            return y
        gate, u, _ = self.gate(x, real, None, weighted=False)
        return gate.closed(self.filter(u, causal, self.gate.norm_weight), self.out_proj)

    def _resume(self, x: Tensor, real: Tensor | None, state: FFTConvState) -> tuple[Tensor, FFTConvState]:
        gate, u, recent = self.gate(x, real, state.recent, weighted=False)
        y, poles = self.filter.resume(u, state.poles, self.gate.norm_weight)
        return gate.closed(y, self.out_proj), FFTConvState(poles, recent)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> FFTConvState:
        """Return the state before the first position: silence. The poles' states are float32 or wider."""
        weight = self.out_proj.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        poles = self.filter.silence(batch_size, device, dtype)
        return FFTConvState(poles, self.gate.short.no_past(batch_size, device, dtype))
