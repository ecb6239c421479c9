"""What gated convolutions start with: a short convolution, a gate, and the product that is filtered."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from undula.nn.norms import RMSNorm
from undula.nn.short_conv import CausalConv
from undula.shapes import Sequence


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
        self, x: Sequence, real: Bool[Tensor, "B T"] | None, past: Float[Tensor, "B D L"] | None
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B C T"], Float[Tensor, "B D L"] | None]:
        """Return the gate, the product (channels first; silent at padding) and the inputs to keep for the next piece.

        Args:
            x: the sequence.
            real: True at real positions; None: all.
            past: inputs before the first position, to continue a sequence.

        Raises:
            ValueError: for a sequence without steps.
        """
        if x.shape[1] < 1:
            raise ValueError("got a sequence of 0 steps; wanted at least 1")
        rows = (x if real is None else torch.where(real[..., None], x, 0.0)).transpose(1, 2)
        smooth, recent = (self.short(rows), None) if past is None else self.short.stream(rows, past)
        q, k, v = self.in_proj(smooth.transpose(1, 2)).chunk(3, dim=-1)
        q, k = self.q_norm(q), self.k_norm(k)
        # The short convolution has a bias, so padding is not silent by itself.
        product = k * v if real is None else torch.where(real[..., None], k * v, 0.0)
        return q, product.transpose(1, 2), recent
