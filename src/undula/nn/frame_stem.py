"""From spectrograms to features at a lower rate, by convolutions that padding does not reach."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

TAPS = 3


class FrameStem(nn.Module):
    """Convolutions over frames of 3 taps each, with GELU: the first keeps their number, each of the others halves it.

    Position j of the output stands at frame 2^halvings j and is real where that frame is. What lies outside of the real
    frames is 0 before every convolution.

    Args:
        bands: bands of a frame.
        d_model: width of the features.
        halvings: convolutions that halve.
        causal: taps look back only.
    """

    def __init__(self, bands: int, d_model: int, halvings: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.convs = nn.ModuleList(
            nn.Conv1d(d_model if i else bands, d_model, TAPS, stride=2 if i else 1) for i in range(1 + halvings)
        )

    def forward(
        self, frames: Float[Tensor, "B M T"], real: Bool[Tensor, "B T"] | None = None
    ) -> tuple[Float[Tensor, "B P D"], Bool[Tensor, "B P"] | None]:
        """Return the features (B, P, D) of P = ceil(T / 2^halvings) positions, and which of them are real."""
        around = (TAPS - 1, 0) if self.causal else (TAPS // 2, TAPS // 2)
        x = frames
        for i, conv in enumerate(self.convs):
            if real is not None:
                x = torch.where(real[:, None], x, 0.0)
                real = real[:, ::2] if i else real
            x = F.gelu(conv(F.pad(x, around)))
        return x.transpose(1, 2), real
