"""What the encoder and the decoder of audio have in common: layers over frames, and masks of frames."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from undula.models.backbone import Backbone, States
from undula.models.config import BackboneConfig
from undula.shapes import PaddingMask, Sequence

AMPLITUDE = 0.1
"""How loud a harmonic of speech is about, of a full scale of 1."""


class FrameLayers(nn.Module):
    """Features of frames (B, T, C) to (B, T, d_model): a projection, then mixers and feed-forwards, normalised.

    Args:
        channels: width of the features.
        d_model: width of the layers.
        num_heads: heads of the mixer.
        num_layers: number of layers.
        dropout: probability.
        mixer: name of a mixer.
    """

    def __init__(
        self, channels: int, d_model: int, num_heads: int, num_layers: int, dropout: float, mixer: str
    ) -> None:
        super().__init__()
        self.project = nn.Linear(channels, d_model)
        options = {"attention": {"dropout": dropout}} if mixer == "attention" else {}
        self.backbone = Backbone(
            BackboneConfig(
                d_model=d_model,
                num_layers=num_layers,
                num_heads=num_heads,
                mixers=(mixer,),
                mixer_options=options,
                d_ff=2 * d_model,
                dropout=dropout,
            )
        )

    def forward(
        self, x: Sequence, causal: bool, attention_mask: PaddingMask | None, state: States | None
    ) -> tuple[Float[Tensor, "B T width"], States | None]:
        """Return what the layers know of each frame, and their new state (None where none was given)."""
        out = self.backbone(self.project(x), causal, attention_mask, state=state)
        return out if isinstance(out, tuple) else (out, None)

    def init_state(self, batch_size: int, device: torch.device | None, dtype: torch.dtype | None) -> States:
        """Return the state before the first frame."""
        return self.backbone.init_state(batch_size, device=device, dtype=dtype)


def frame_mask(attention_mask: PaddingMask, steps: int) -> Bool[Tensor, "B T"]:
    """Return a mask of frames as booleans.

    Raises:
        ValueError: when it has not one entry for each frame.
    """
    if attention_mask.shape[1] != steps:
        raise ValueError(
            f"attention_mask has {attention_mask.shape[1]} entries a row, wanted one for each of {steps} frames"
        )
    return attention_mask.bool()


def check_sound(audio: Tensor) -> None:
    """Refuse what is no batch of recordings.

    Raises:
        ValueError: for another number of axes, and for whole numbers.
    """
    if audio.ndim != 2:
        raise ValueError(f"audio has shape {tuple(audio.shape)}, wanted (batch, samples); mix channels down first")
    if not audio.is_floating_point():
        raise ValueError(
            f"audio is {audio.dtype}; wanted samples between -1 and 1, such as audio / 32768 of 16-bit ones"
        )


def check_finite(audio: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """Return the samples that are heard; refuse NaN, which a transform spreads over a whole frame.

    Raises:
        ValueError: for NaN or infinity; on the CPU alone, where asking costs little.
    """
    if audio.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.isfinite(audio).all():
        raise ValueError("audio holds NaN or infinity; repair the recording or leave it out")
    return audio


def before_end(lengths: Int[Tensor, " B"], steps: int) -> Bool[Tensor, "B T"]:
    """Return which of the positions 0 .. steps - 1 lie before each row's length."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]
