"""What gated convolutions start with: a short convolution, a gate, and the product that is filtered."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from undula.nn.norms import RMSNorm
from undula.nn.short_conv import CausalConv
from undula.ops.gate import normalised_product
from undula.shapes import Sequence


class Gate(NamedTuple):
    """What a gated convolution ends with, in two factors."""

    q: Float[Tensor, "B T C"]
    factor: Float[Tensor, "B T 1"] | None = None
    """None: 1."""

    def closed(self, filtered: Float[Tensor, "B C T"], out_proj: nn.Module) -> Float[Tensor, "B T D"]:
        """Return the projection of what was filtered, times the gate; it has no bias."""
        y = out_proj(self.q * filtered.transpose(1, 2))
        return y if self.factor is None else y * self.factor


class GatedProduct(nn.Module):
    """norm(q) and norm(k) * v, where q, k, v project a short convolution of the input.

    Normalised, as queries and keys of attention are (Henry et al., arXiv 2010.04245): a product of three projections
    would otherwise start tiny and grow with the third power of their weights. The short convolution comes before the
    projection, on D channels instead of 3 D: a third of the cost of the usual order of Hyena and H3, at the same
    quality on characters.

    Args:
        d_model: width.
        taps: positions that the short convolution sees.
        d_inner: width of q, k and v; d_model by default.
    """

    residual_axes: ClassVar[Mapping[str, int]] = {"short.weight": 0, "short.bias": 0, "in_proj.weight": 1}

    def __init__(self, d_model: int, taps: int, d_inner: int | None = None) -> None:
        super().__init__()
        inner = d_model if d_inner is None else d_inner
        self.short = CausalConv(d_model, taps)
        self.in_proj = nn.Linear(d_model, 3 * inner, bias=False)
        self.q_norm, self.k_norm = RMSNorm(inner), RMSNorm(inner)

    def forward(
        self,
        x: Sequence,
        real: Bool[Tensor, "B T"] | None,
        past: Float[Tensor, "B D L"] | None,
        *,
        weighted: bool = True,
    ) -> tuple[Gate, Float[Tensor, "B C T"], Float[Tensor, "B D L"] | None]:
        """Return the gate, the product (channels first; silent at padding) and the inputs to keep for the next piece.

        Args:
            x: the sequence.
            real: True at real positions; None: all.
            past: inputs before the first position, to continue a sequence.
            weighted: False leaves out what the norms multiply by. A filter that treats each channel by itself gives the
                same when it is multiplied by `norm_weight`, at a cost that does not grow with the sequence.

        Raises:
            ValueError: for a sequence without steps.
        """
        if x.shape[1] < 1:
            raise ValueError("got a sequence of 0 steps; wanted at least 1")
        rows = (x if real is None else torch.where(real[..., None], x, 0.0)).transpose(1, 2)
        smooth, recent = (self.short(rows), None) if past is None else self.short.stream(rows, past)
        qkv = self.in_proj(smooth.transpose(1, 2))
        if weighted:
            q, k, v = qkv.chunk(3, dim=-1)
            gate, product = Gate(self.q_norm(q)), self.k_norm(k) * v
        else:
            q, product, factor = normalised_product(qkv, self.q_norm.eps)
            gate = Gate(q, factor)
        # The short convolution has a bias, so padding is not silent by itself.
        product = product if real is None else torch.where(real[..., None], product, 0.0)
        return gate, product.transpose(1, 2), recent

    @property
    def norm_weight(self) -> Float[Tensor, " C"]:
        """What both norms together multiply each channel by."""
        return self.q_norm.weight * self.k_norm.weight
