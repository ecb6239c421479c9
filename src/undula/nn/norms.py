"""Normalisations."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.ops.norm import rms_norm


class RMSNorm(nn.Module):
    """Divides by the root mean square of the last axis: weight * x / sqrt(mean(x^2) + eps).

    Half-precision inputs are squared in float32, where 300^2 does not overflow, and cast back.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.
    """

    def __init__(self, d_model: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "*rest D"]) -> Float[Tensor, "*rest D"]:
        """Return x normalised over its last axis, then scaled.

        Raises:
            ValueError: for another width.
        """
        if x.shape[-1] != self.weight.shape[0]:
            raise ValueError(f"got a sequence that is {x.shape[-1]} wide; wanted {self.weight.shape[0]}")
        return rms_norm(x, self.weight, self.eps)
