"""What a model is made of, as plain data (no torch, so that the command line can read it quickly)."""

from dataclasses import dataclass, field
from typing import Any, Literal

BlockName = Literal["pre_norm", "parallel", "deepnorm", "phase_parallel"]

BAND_BOUNDARIES, BAND_NUM_LAYERS = (0.2, 0.6), (8, 6, 4)
"""The documented bands of a pyramid, and their depths."""


@dataclass(frozen=True, kw_only=True)
class PyramidConfig:
    """Multi-resolution pyramids among the blocks; the backbone's heads, dropout and width are theirs too."""

    after: tuple[int, ...] = ()
    """Blocks after which a pyramid stands, counted from 1; 0: before the first. A number may repeat. Empty: none."""
    shared: bool = False
    """One pyramid in all these places."""
    band_boundaries: tuple[float, ...] = BAND_BOUNDARIES
    """Shares of the harmonics at which bands meet."""
    band_num_layers: tuple[int, ...] = BAND_NUM_LAYERS
    """Blocks of each band, lowest first."""
    band_strides: tuple[int, ...] = ()
    """Positions of a step of each band, lowest first; empty: 1 everywhere."""
    num_kv_heads: int | None = None
    """Key-value heads of a layer of the whole width; None: as many as heads."""
    d_ff_multi: int = 4
    """Hidden width of the feed-forwards, over the width of the band's blocks."""
    cross_band: bool = True
    """Neighbouring bands attend to each other."""
    mixer: str = "attention"
    """Of the bands' blocks."""
    mixer_options: dict[str, Any] = field(default_factory=dict)
    """Its options; those of attention come on top of `num_kv_heads` and the backbone's dropout."""


@dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """Mixtures of experts in place of the feed-forwards."""

    experts: int = 0
    """Experts of each block, each as wide as the feed-forward would be; 0: one feed-forward for all positions."""
    active: int = 2
    """Experts that each position uses."""
    balance: float = 0.01
    """Weight of the loss that keeps all experts in use, beside the nats per token."""


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
    block: BlockName = "pre_norm"
    d_ff: int = 344
    """Hidden width of the gated feed-forward."""
    dropout: float = 0.0
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    checkpointing: bool = False
    """Keep only the input of each block and pyramid, and compute the rest again in the backward pass."""
    cross: str | None = None
    """What the blocks of a decoder read their source with: "attention" or "landmarks"; None: there is no source."""
    num_landmarks: int = 64
    """Points that "landmarks" makes of a longer source."""


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
    ordered: bool = False
    """Harmonics rise in frequency at every position, as a curriculum by slices needs it."""


@dataclass(frozen=True, kw_only=True)
class SparsityConfig:
    """Which harmonics the blocks see, in the wave family."""

    k_ratio: float = 1.0
    """Share of harmonics that are kept at each position; 1: all, without a selector."""
    temperature: float = 0.1
    """Of the draw in training; low temperatures choose as in evaluation."""
    min_k: int = 8
    dynamic_k: bool = False
    """Each position has a k of its own, which starts at k_ratio and is drawn to it by the loss."""
    gather: bool = False
    """The blocks are 3 k wide and compute on what is kept alone, instead of 3 H wide with zeros."""
    settles: bool = False
    """After a share of training, the run's `settling`, the k harmonics kept most until then are the only ones at every
    position: the blocks compute on them alone, as a slice, and `compact` changes nothing but the size."""
    hidden_ratio: float | None = None
    """Of blocks that gather or settle: hidden units of their feed-forwards, over `d_ff`; None: the share kept."""
    inner_ratio: float = 1.0
    """Of blocks that gather or settle: width inside of their mixers (`d_inner`), over `d_model`; narrow blocks miss
    filters more than hidden units."""
    weight: float = 0.01
    """Of the selector's loss, beside the nats per token."""

    def __post_init__(self) -> None:
        for name in ("dynamic_k", "gather", "settles"):
            if self.k_ratio == 1 and getattr(self, name):
                raise ValueError(f"{name}=True with k_ratio=1, which chooses nothing; take k_ratio=0.5, say")
        if not (self.gather or self.settles) and (self.hidden_ratio, self.inner_ratio) != (None, 1.0):
            raise ValueError("hidden_ratio and inner_ratio are of blocks that gather or settle; these do neither")
        for name in ("hidden_ratio", "inner_ratio"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}={value}; wanted a number above 0")


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
class EmbeddingConfig:
    """The table of tokens and the scores, in the spectral families and in encoder-decoders."""

    width: int | None = None
    """Of the table, with projections between it and the blocks; None: as wide as they are."""
    tied: bool = True
    """Scores are products with the table itself, instead of another one."""


@dataclass(frozen=True, kw_only=True)
class SignalConfig:
    """Tokens as sums of sinusoids, in the spectral_llm family."""

    harmonics: int | None = None
    """Sinusoids of each token, fewer than half the width; None: a quarter of it; 0: a table instead."""
    share: float | None = 0.5
    """Of the sinusoids beside a table, at the start; None: sinusoids alone."""
    positions: int = 1024
    """Tokens over which the slowest sinusoid of positions turns by one radian; 0: no sinusoids of positions."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A causal language model."""

    family: str = "plain"
    """"plain": embedding, backbone, linear head. "wave": tokens become waves of d_model / 3 harmonics and back.
    "wave_gpt": tokens become wave packets, then backbone and linear head. "spectral": a table that may be narrower than
    the backbone, and scores that may be products with it. "spectral_llm": tokens become sums of sinusoids, and scores
    may be products with those."""
    vocab_size: int = 257
    context_length: int | None = None
    """Longest sequence that the model accepts, in tokens; None: no limit."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    codec: CodecConfig = field(default_factory=CodecConfig)
    """Read by the wave family only."""
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    """Read by the wave family only."""
    freq_limit: Literal["none", "mask", "slice"] = "none"
    """What a frequency curriculum does in the wave family: fade amplitudes above its limit, or leave harmonics out."""
    packets: PacketConfig = field(default_factory=PacketConfig)
    """Read by the wave_gpt family only."""
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """Read by the spectral family, and `tied` by the spectral_llm family."""
    signal: SignalConfig = field(default_factory=SignalConfig)
    """Read by the spectral_llm family only."""


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig:
    """A model from one sequence of tokens to another; both have one vocabulary."""

    vocab_size: int = 8000
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    context_length: int | None = None
    """Longest source and longest target, in tokens; None: no limit."""
    encoder: BackboneConfig = field(default_factory=BackboneConfig)
    decoder: BackboneConfig = field(default_factory=lambda: BackboneConfig(cross="landmarks"))
    """As wide as the encoder, and with a cross mixer."""


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
