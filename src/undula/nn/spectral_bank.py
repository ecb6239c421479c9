"""A bank of long filters that are mixtures of fixed ones."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.ops import online_conv
from undula.ops.fft import causal_conv, two_sided_conv
from undula.ops.hankel import spectral_filters
from undula.ops.phase import full_precision

SMALL = 0.04
"""Size that the mixtures start with, beside a direct path of 1."""


class SpectralBank(nn.Module):
    """One impulse response per channel, h(t) = direct [t = 0] + sum_k (a_k + b_k (-1)^t) s_k^(1/4) f_k(t).

    s_k and f_k are eigenvalues and eigenvectors of a Hankel matrix; the twins with alternating signs answer to poles
    at negative numbers. Filters end after `length` steps: they are the same for every sequence.

    Args:
        channels: number of impulse responses.
        filters: fixed filters in each.
        length: steps that they see.

    Raises:
        ValueError: for more filters than steps.

    Source: Agarwal et al., "Spectral State Space Models", arXiv 2312.06837, section 3.
    """

    def __init__(self, channels: int, filters: int, length: int) -> None:
        super().__init__()
        values, vectors = spectral_filters(length, filters)
        # Neither parameter nor buffer: a cast of the module would round it, and loading on the meta device lose it.
        self._fixed = values[:, None].pow(0.25) * vectors
        self.mixture = nn.Parameter(SMALL * torch.randn(channels, 2 * filters) / math.sqrt(filters))
        self.direct = nn.Parameter(torch.ones(channels))

    @property
    def length(self) -> int:
        """Steps that the filters see."""
        return self._fixed.shape[1]

    def impulse_response(self, length: int) -> Float[Tensor, "C L"]:
        """Return the first values of every filter, as many as are asked for and there are."""
        dtype = torch.promote_types(self.mixture.dtype, torch.float32)
        fixed = self._fixed[:, :length].to(self.mixture.device, dtype)
        plain, turned = self.mixture.to(dtype).chunk(2, dim=-1)
        with full_precision(fixed):
            h, alternating = plain @ fixed, turned @ fixed
        even = torch.arange(h.shape[1], device=h.device) % 2 == 0
        h = h + torch.where(even, alternating, -alternating)
        return h + F.pad(self.direct.to(dtype)[:, None], (0, h.shape[1] - 1))

    def forward(self, u: Float[Tensor, "B C T"], causal: bool = True) -> Float[Tensor, "B C T"]:
        """Return the filtered sequence, in the type of u. causal=False adds the same filters run backwards."""
        h = self.impulse_response(u.shape[-1])
        return causal_conv(u, h) if causal else two_sided_conv(u, h)

    def resume(
        self, u: Float[Tensor, "B C T"], past: online_conv.Past, filters: online_conv.Filters
    ) -> tuple[Float[Tensor, "B C T"], online_conv.Past]:
        """Return the next piece of a filtered sequence, in the type of u, and the past after it.

        Args:
            u: inputs.
            past: from `online_conv.nothing` or an earlier piece.
            filters: `impulse_response`, or what remembers what that has returned, where there are several pieces.
        """
        y, past = online_conv.resume(u.to(past[0].dtype), filters, self.length, past)
        return y.to(u.dtype), past
