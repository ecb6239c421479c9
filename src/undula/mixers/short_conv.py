"""Gated short convolutions alone: the twin that shows how much of a long filter's gain is locality."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, in_pieces
from undula.nn.gate import GatedProduct
from undula.nn.short_conv import CausalConv
from undula.shapes import PaddingMask, Sequence


@dataclass
class ShortConvState(State):
    """The last inputs of both convolutions."""

    recent: Float[Tensor, "B C L"]
    products: Float[Tensor, "B D L2"]


@MIXERS.register("short_conv")
class ShortConv(Mixer):
    """y = out_proj(norm(q) * conv(norm(k) * v)), q, k, v projections of a convolution of the input; both filters short.

    Args:
        d_model: width.
        taps: positions that the filter of the product k * v sees.
        short_conv: taps of the first convolution.
        d_inner: number of the later filters; d_model by default.

    Source: the short filters of Poli et al., arXiv 2302.10866, without the long one.
    """

    traits = Traits(
        bidirectional=False,
        bounded_state=True,
        cost="T",
        source="the short filters of Poli et al., Hyena Hierarchy, arXiv 2302.10866",
    )

    residual_axes = {
        **{f"gate.{name}": axis for name, axis in GatedProduct.residual_axes.items()},
        "out_proj.weight": 0,
    }

    def __init__(self, d_model: int, *, taps: int = 16, short_conv: int = 4, d_inner: int | None = None) -> None:
        super().__init__()
        self.d_model, self.d_inner = d_model, d_model if d_inner is None else d_inner
        self.gate = GatedProduct(d_model, short_conv, self.d_inner)
        self.filter = CausalConv(self.d_inner, taps, near_identity=True)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    @classmethod
    def build(
        cls, d_model: int, num_heads: int, *, taps: int = 16, short_conv: int = 4, d_inner: int | None = None
    ) -> "ShortConv":
        """Build the mixer; channels have filters of their own, so heads are not used."""
        del num_heads
        return cls(d_model, taps=taps, short_conv=short_conv, d_inner=d_inner)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Filter and gate; see `Mixer.forward`.

        Raises:
            ValueError: for causal=False; short filters look back only.
        """
        if not causal:
            raise ValueError("short_conv looks back only; use attention or fft_conv where causal=False")
        real = None if attention_mask is None else attention_mask.bool()
        past = state if isinstance(state, ShortConvState) else self.init_state(len(x), device=x.device, dtype=x.dtype)
        y, after = in_pieces(self._resume, x, real, past)
        return y if state is None else (y, after)

    def _resume(self, x: Tensor, real: Tensor | None, past: ShortConvState) -> tuple[Tensor, ShortConvState]:
        gate, u, recent = self.gate(x, real, past.recent)
        filtered, products = self.filter.stream(u, past.products)
        return gate.closed(filtered, self.out_proj), ShortConvState(recent, products)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> ShortConvState:
        """Return the state before the first position: silence."""
        weight = self.out_proj.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        return ShortConvState(
            self.gate.short.no_past(batch_size, device, dtype), self.filter.no_past(batch_size, device, dtype)
        )
