"""Gated convolution with mixtures of fixed spectral filters: by FFT, and in streams by online convolution."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, in_pieces, is_long
from undula.nn.gate import GatedProduct
from undula.nn.spectral_bank import SpectralBank
from undula.ops import online_conv
from undula.shapes import PaddingMask, Sequence


@dataclass
class SpectralFilterState(State):
    """The short convolution's last inputs, and the past of the long one: about three times what its filters see."""

    short: Float[Tensor, "B D L"]
    recent: Float[Tensor, "B C R"]
    blocks: tuple[online_conv.Block, ...]


@MIXERS.register("spectral_filter")
class SpectralFilter(Mixer):
    """y = out_proj(norm(q) * (h (*) (norm(k) * v))) with q, k, v projections of a short convolution of the input.

    (*) is the causal convolution with a filter h per channel, a learned mixture of fixed filters (`SpectralBank`).
    Cost T log T; streaming costs O(log^2) of the filters' length a step on average.

    Args:
        d_model: width.
        num_filters: fixed filters, each used with and without alternating signs.
        filter_length: steps that the filters see; what lies further back adds nothing. The filters depend on it, and
            not on the length of the sequence.
        short_conv: taps of the short convolution.
        d_inner: number of channels that are filtered; d_model by default.

    Source: Agarwal et al., "Spectral State Space Models", arXiv 2312.06837; the gates as in fft_conv.
    """

    traits = Traits(cost="T log T", source="Agarwal et al., Spectral State Space Models, arXiv 2312.06837")

    residual_axes = {
        **{f"gate.{name}": axis for name, axis in GatedProduct.residual_axes.items()},
        "out_proj.weight": 0,
    }

    def __init__(
        self,
        d_model: int,
        *,
        num_filters: int = 16,
        filter_length: int = 4096,
        short_conv: int = 4,
        d_inner: int | None = None,
    ) -> None:
        super().__init__()
        self.d_model, self.d_inner = d_model, d_model if d_inner is None else d_inner
        self.gate = GatedProduct(d_model, short_conv, self.d_inner)
        self.filter = SpectralBank(self.d_inner, num_filters, filter_length)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    @classmethod
    def build(
        cls,
        d_model: int,
        num_heads: int,
        *,
        num_filters: int = 16,
        filter_length: int = 4096,
        short_conv: int = 4,
        d_inner: int | None = None,
    ) -> "SpectralFilter":
        """Build the mixer; channels have mixtures of their own, so heads are not used."""
        del num_heads
        return cls(
            d_model, num_filters=num_filters, filter_length=filter_length, short_conv=short_conv, d_inner=d_inner
        )

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Filter and gate; see `Mixer.forward`. causal=False adds the same filters run backwards."""
        real = None if attention_mask is None else attention_mask.bool()
        if isinstance(state, SpectralFilterState):
            return in_pieces(self._resuming(), x, real, state)
        if causal and is_long(x):
            start = self.init_state(len(x), device=x.device, dtype=x.dtype)
            return in_pieces(self._resuming(), x, real, start)[0]
        gate, u, _ = self.gate(x, real, None)
        return gate.closed(self.filter(u, causal), self.out_proj)

    def _resuming(self) -> Callable[[Tensor, Tensor | None, SpectralFilterState], tuple[Tensor, SpectralFilterState]]:
        """`_resume` with filters of each length that are made once; a compiler cannot follow the cache."""
        return partial(self._resume, cache(self.filter.impulse_response))

    def _resume(
        self, filters: online_conv.Filters, x: Tensor, real: Tensor | None, state: SpectralFilterState
    ) -> tuple[Tensor, SpectralFilterState]:
        gate, u, short = self.gate(x, real, state.short)
        y, past = self.filter.resume(u, (state.recent, state.blocks), filters)
        return gate.closed(y, self.out_proj), SpectralFilterState(short, *past)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> SpectralFilterState:
        """Return the state before the first position: nothing. What is filtered is held in float32 or wider."""
        weight = self.out_proj.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        past = online_conv.nothing(torch.zeros(batch_size, self.d_inner, 0, device=device, dtype=wide))
        return SpectralFilterState(self.gate.short.no_past(batch_size, device, dtype), *past)
