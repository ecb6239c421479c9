"""What is told of a whole image or recording: an encoder, a pooling and a linear head."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from undula.models.config import BackboneConfig
from undula.models.init import initialise
from undula.models.senses_config import AudioEncoderConfig, VisionEncoderConfig
from undula.models.sound_encoder import SpectralAudioEncoder
from undula.models.vision_encoder import SpectralVisionEncoder
from undula.nn.pooling import build_pooling


class SpectralImageClassifier(nn.Module):
    """The scores (B, outputs) of an image's classes: head(dropout(pooling(encoder(image)))).

    Args:
        config: the encoder.
        num_outputs: classes, or numbers that are to be told.
        pooling: "mean" or "attention", over the patches.

    Raises:
        ValueError: as the encoder does, for an unknown pooling, or less than one output.
    """

    def __init__(self, config: VisionEncoderConfig, num_outputs: int, pooling: str = "mean") -> None:
        super().__init__()
        self.encoder = SpectralVisionEncoder(config)
        self.pooling = build_pooling(pooling, self.encoder.d_model)
        self.dropout, self.head = _head(config.backbone, num_outputs)

    def forward(self, images: Float[Tensor, "B channels height width"]) -> Float[Tensor, "B outputs"]:
        """Return the scores."""
        return self.head(self.dropout(self.pooling(self.encoder(images))))


class SpectralAudioClassifier(nn.Module):
    """The scores (B, outputs) of a recording's classes: head(dropout(pooling(encoder(sound)))), over what is real.

    Args:
        config: the encoder.
        num_outputs: classes, or numbers that are to be told.
        pooling: "mean" or "attention", over time.

    Raises:
        ValueError: as the encoder does, for an unknown pooling, or less than one output.
    """

    def __init__(self, config: AudioEncoderConfig, num_outputs: int, pooling: str = "mean") -> None:
        super().__init__()
        self.encoder = SpectralAudioEncoder(config)
        self.pooling = build_pooling(pooling, self.encoder.d_model)
        self.dropout, self.head = _head(config.backbone, num_outputs)

    def forward(
        self,
        *,
        waveform: Float[Tensor, "B L"] | None = None,
        mel: Float[Tensor, "B M T"] | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B outputs"]:
        """Return the scores; see `SpectralAudioEncoder.forward`."""
        features, real = self.encoder(waveform=waveform, mel=mel, lengths=lengths)
        return self.head(self.dropout(self.pooling(features, real)))


def _head(plan: BackboneConfig, outputs: int) -> tuple[nn.Dropout, nn.Linear]:
    if outputs < 1:
        raise ValueError(f"num_outputs={outputs}; wanted at least 1")
    head = nn.Linear(plan.d_model, outputs)
    initialise(head, 1)
    return nn.Dropout(plan.dropout), head
