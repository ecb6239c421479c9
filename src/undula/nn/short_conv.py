"""A depthwise causal convolution of a few taps, in pieces or in one go."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.ops.conv import continued_conv, short_causal_conv


class CausalConv(nn.Module):
    """Filters each channel with its own few taps; what lies before the first position counts as zero.

    Args:
        channels: number of channels.
        taps: how many positions a filter sees, the present one included.
        near_identity: start with weights that are an eighth as large, but 1 more for the present position.
    """

    def __init__(self, channels: int, taps: int, near_identity: bool = False) -> None:
        super().__init__()
        if taps < 1:
            raise ValueError(f"taps={taps} is not positive; a filter sees at least the present position")
        self.taps = taps
        bound = taps**-0.5 / (8 if near_identity else 1)
        present = (torch.arange(taps) == taps - 1) & near_identity
        self.weight = nn.Parameter(torch.empty(channels, taps).uniform_(-bound, bound) + present)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T"]:
        """Return the filtered sequence."""
        return short_causal_conv(x, self.weight, self.bias)

    def stream(
        self, x: Float[Tensor, "B C T"], past: Float[Tensor, "B C L"]
    ) -> tuple[Float[Tensor, "B C T"], Float[Tensor, "B C L"]]:
        """Return the next piece of the filtered sequence and the inputs to keep for the piece after it."""
        y = continued_conv(x, past, self.weight, self.bias)
        kept = past.shape[-1]
        return y, torch.cat([past[..., x.shape[-1] :], x[..., max(0, x.shape[-1] - kept) :]], dim=-1)

    def no_past(self, batch_size: int, device: torch.device | None, dtype: torch.dtype | None) -> Tensor:
        """Return the inputs before the first position: zeros."""
        reference = self.weight
        return torch.zeros(
            batch_size, len(reference), self.taps - 1, device=device or reference.device, dtype=dtype or reference.dtype
        )
