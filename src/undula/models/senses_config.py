"""What encoders of images, films and sound, and their fusion, are made of, as plain data (no torch)."""

from dataclasses import dataclass, field

from undula.models.config import BackboneConfig

SENSES = ("text", "vision", "audio", "video")
"""Names of what a fusion may be given."""


@dataclass(frozen=True, kw_only=True)
class VisionEncoderConfig:
    """An encoder of images."""

    channels: int = 3
    patch_size: int = 16
    """Side of a patch in pixels."""
    position_octaves: int = 4
    """Frequencies of the coordinates' sines and cosines: 1, 2, 4, ... half waves over the side of a square image."""
    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(mixers=("grid_filter",)))
    """Blocks over the grid of patches. The twin of "grid_filter" is "grid_attention", which has its local filter, too.
    Any mixer of sequences that looks both ways may stand there; it takes patches row by row. "attention" then needs no
    positions of its own, {"attention": {"rotary": False}}, since patches have coordinates."""


@dataclass(frozen=True, kw_only=True)
class VideoEncoderConfig:
    """An encoder of films: images by themselves, then the order in time of one vector for each."""

    frames: VisionEncoderConfig = field(default_factory=VisionEncoderConfig)
    pooling: str = "mean"
    """From the patches of a frame to one vector: "mean", "attention" or "first"."""
    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(mixers=("spectral_gate",), num_layers=2))
    """Blocks over time, as wide as those of the frames."""


@dataclass(frozen=True, kw_only=True)
class AudioEncoderConfig:
    """An encoder of sound."""

    sample_rate: int = 16000
    """In Hz; a frame has 25 ms, every 10 ms."""
    num_mels: int = 80
    """Bands of frequency."""
    halvings: int = 2
    """Convolutions that halve the number of frames: 2 leave a position every 40 ms."""
    causal: bool = False
    """Nothing depends on later sound, neither the frames nor how they are levelled, and the blocks look back only."""
    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(mixers=("spectral_gate",)))


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """A fusion of senses."""

    widths: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SENSES, 128))
    """The senses that there may be, of "text", "vision", "audio" and "video", and the width of each one's features."""
    num_bands: int = 4
    """Bands of frequency that have a gate and an angle each."""
    backbone: BackboneConfig = field(default_factory=lambda: BackboneConfig(mixers=("spectral_gate",), num_layers=1))
    """Blocks over the common grid, in both directions."""
