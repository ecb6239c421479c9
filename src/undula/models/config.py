"""What a model is made of, as plain data (no torch, so that the command line can read it quickly)."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """A stack of blocks."""

    d_model: int = 128
    """Width of the residual stream."""
    num_layers: int = 4
    num_heads: int = 4
    mixers: tuple[str, ...] = ("attention",)
    """Mixers by layer; a shorter pattern repeats: ("fft_conv", "attention") alternates."""
    mixer_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options of each mixer by name: {"attention": {"qk_norm": True}}."""
    block: Literal["pre_norm", "parallel", "deepnorm"] = "pre_norm"
    d_ff: int = 344
    """Hidden width of the gated feed-forward."""
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CodecConfig:
    """Between tokens and waves, in the wave family: a context layer, then a feed-forward stack."""

    d_model: int = 64
    hidden_mult: float = 1.0
    """Hidden width of the stack, as a multiple of d_model."""
    num_layers: int = 1
    num_heads: int = 4
    """Heads of the context layer; 0 for no context layer."""
    mixer: str = "attention"
    """Mixer of the context layer."""
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PacketConfig:
    """Tokens as wave packets, in the wave_gpt family."""

    num_waves: int = 16
    """Waves of each packet; 0: a table of embeddings instead."""
    num_harmonics: int = 4
    """Harmonics of each wave."""
    annealed: bool = False
    """Keep a table of embeddings beside the packets, which training fades out."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A causal language model."""

    family: str = "plain"
    """"plain": embedding, backbone, linear head. "wave": tokens become waves of d_model / 3 harmonics and back.
    "wave_gpt": tokens become wave packets, then backbone and linear head."""
    vocab_size: int = 257
    context_length: int | None = None
    """Longest sequence that the model accepts, in tokens; None: no limit."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    """Read by the wave family only."""
    packets: PacketConfig = field(default_factory=PacketConfig)
    """Read by the wave_gpt family only."""


@dataclass(frozen=True, kw_only=True)
class AudioCodecConfig:
    """Between sound and waves: the sizes of an encoder and its decoder."""

    sample_rate: int = 8000
    num_harmonics: int = 32
    """Harmonics of each frame's wave: 3 num_harmonics numbers for every hop_length samples."""
    n_fft: int = 384
    """Length of a frame in samples."""
    hop_length: int = 96
    d_model: int = 128
    num_heads: int = 4
    num_layers: int = 3
    """Of the encoder, and again of the decoder."""
    mixer: str = "short_conv"
    dropout: float = 0.0
    freq_range: tuple[float, float] = (20.0, 3000.0)
    """Lowest and highest frequency of a harmonic in Hz."""
