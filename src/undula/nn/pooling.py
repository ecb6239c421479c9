"""One vector for a whole sequence."""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor, nn

from undula.names import unknown_name
from undula.shapes import PaddingMask, Sequence


class MeanPooling(nn.Module):
    """The mean of the real positions; zeros where there are none."""

    def forward(self, x: Sequence, attention_mask: PaddingMask | None = None) -> Float[Tensor, "B D"]:
        """Return the means."""
        if attention_mask is None:
            return x.mean(1)
        real = attention_mask.bool()
        return torch.where(real[..., None], x, 0.0).sum(1) / real.sum(1, keepdim=True).clamp_min(1)


class AttentionPooling(nn.Module):
    """A weighted mean of the real positions, with weights softmax(x . query / sqrt(D)); zeros where there are none.

    It starts as the mean.

    Args:
        d_model: width.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Sequence, attention_mask: PaddingMask | None = None) -> Float[Tensor, "B D"]:
        """Return the weighted means."""
        scores = einsum(x, self.query * self.query.shape[0] ** -0.5, "b t d, d -> b t")
        if attention_mask is None:
            return einsum(scores.softmax(-1), x, "b t, b t d -> b d")
        real = attention_mask.bool()
        # The lowest number rather than minus infinity: a row of padding alone has no NaN.
        weights = torch.where(real, scores, torch.finfo(scores.dtype).min).softmax(-1)
        weights, x = torch.where(real, weights, 0.0), torch.where(real[..., None], x, 0.0)
        return einsum(weights, x, "b t, b t d -> b d")


class FirstPooling(nn.Module):
    """The first real position; zeros where there is none."""

    def forward(self, x: Sequence, attention_mask: PaddingMask | None = None) -> Float[Tensor, "B D"]:
        """Return what stands at the first real position."""
        if attention_mask is None:
            return x[:, 0]
        real = attention_mask.bool()
        first = real.int().argmax(1)
        found = x.gather(1, first[:, None, None].expand(-1, 1, x.shape[-1]))[:, 0]
        return torch.where(real.any(1, keepdim=True), found, 0.0)


POOLINGS = ("mean", "attention", "first")
"""Names of the poolings."""


def build_pooling(name: str, d_model: int) -> nn.Module:
    """Return a pooling by name.

    Raises:
        ValueError: for an unknown name.
    """
    match name:
        case "mean":
            return MeanPooling()
        case "attention":
            return AttentionPooling(d_model)
        case "first":
            return FirstPooling()
        case other:
            raise unknown_name("pooling", other, POOLINGS)
