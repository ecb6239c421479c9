"""Spectral models as documented: their configuration, and which mixer each kind of layer is."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from undula.models.config import BackboneConfig, EmbeddingConfig, MixtureConfig, ModelConfig
from undula.models.senses_config import (
    SENSES,
    AudioEncoderConfig,
    FusionConfig,
    VideoEncoderConfig,
    VisionEncoderConfig,
)
from undula.names import unknown_name
from undula.nn.shares import LEAST, MOST


class LayerType(StrEnum):
    """How the layers of a spectral model mix."""

    DENSE = "dense"
    """All modes of every filter."""
    SPARSE = "sparse"
    """A fixed share of the modes, chosen in each chunk."""
    MOE = "moe"
    """As dense, with a mixture of experts as the feed-forward."""
    MULTISCALE = "multiscale"
    """All modes, in chunks that tell each other their powers in twice as many bands."""
    HYBRID = "hybrid"
    """As dense, and every n-th layer attends."""
    ADAPTIVE = "adaptive"
    """A share of the modes that each head learns, chosen in each chunk."""


class ModalityType(StrEnum):
    """What a spectral model reads."""

    TEXT = "text"
    VISION = "vision"
    AUDIO = "audio"
    VIDEO = "video"


SELECTIVE = (LayerType.SPARSE, LayerType.ADAPTIVE)
"""Layers that choose modes; there is a choice in chunks alone."""

CHUNKED = (*SELECTIVE, LayerType.MULTISCALE)
"""Layers that transform in chunks in a language model; in an encoder all do."""

LONGEST_CHUNK = 32
"""Positions of a language model's chunk at most: gains and choices of a chunk come from the chunks before it, so that
within the first one nothing depends on the text."""

SCALES = 8
"""Bands of frequency of multiscale layers."""

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, kw_only=True)
class SpectralConfig:
    """A spectral model.

    Args:
        vocab_size: number of tokens.
        embed_dim: width of the table of tokens.
        hidden_dim: width of the residual stream; the feed-forward is 8/3 as wide.
        num_layers: blocks.
        max_seq_len: longest sequence, in positions.
        layer_type: how the layers mix, a `LayerType` or its name.
        sparsity: share of the modes that sparse layers keep.
        num_heads: heads of each layer.
        dropout: probability, on what each branch adds.
        use_rope: attention turns queries and keys by their position; in hybrid models.
        use_gradient_checkpointing: keep only the input of each block for the backward pass.
        tie_word_embeddings: scores are products with the table of tokens.
        use_hierarchical_fft: sparse, adaptive and multiscale layers, and all layers of encoders, transform in chunks;
            False: whole sequences, which leaves no modes to choose and no chunks to compare.
        use_adaptive_sparsity: heads of adaptive layers learn how much they keep; False: `sparsity`.
        use_phase_aware: filters turn phases, too, and not only sizes.
        use_cross_frequency: which frequencies are kept depends on how they go together, in sparse and adaptive layers.
        chunk_size: positions of a chunk; never more than max_seq_len, and in language models never more than 32.
        modality: what the model reads, a `ModalityType` or its name.
        vision_patch_size: side of an image's patches in pixels.
        audio_sample_rate: samples per second of sound.
        use_moe: mixtures of experts as feed-forwards, whatever the layer type.
        num_experts: of each mixture.
        num_active_experts: that each position uses.
        attention_every: in hybrid models each layer of this number attends, and at least the last one.

    Raises:
        ValueError: for an unknown name, a number out of range, or values that do not go together.

    Source: "Spectral Neural Networks v3.0", reference document.
    """

    vocab_size: int = 50257
    embed_dim: int = 768
    hidden_dim: int = 3072
    num_layers: int = 12
    max_seq_len: int = 200_000
    layer_type: LayerType | str = LayerType.ADAPTIVE
    sparsity: float = 0.15
    num_heads: int = 12
    dropout: float = 0.1
    use_rope: bool = True
    use_gradient_checkpointing: bool = False
    tie_word_embeddings: bool = True
    use_hierarchical_fft: bool = True
    use_adaptive_sparsity: bool = True
    use_phase_aware: bool = True
    use_cross_frequency: bool = True
    chunk_size: int = 8192
    modality: ModalityType | str = ModalityType.TEXT
    vision_patch_size: int = 16
    audio_sample_rate: int = 16000
    use_moe: bool = False
    num_experts: int = 8
    num_active_experts: int = 2
    attention_every: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_type", _named("layer_type", self.layer_type, LayerType))
        object.__setattr__(self, "modality", _named("modality", self.modality, ModalityType))
        _check_numbers(self)
        if not self.use_hierarchical_fft and self.layer_type in CHUNKED:
            raise ValueError(
                f"layer_type={str(self.layer_type)!r} works in chunks, and use_hierarchical_fft=False has none; take "
                "layer_type='dense', or use_hierarchical_fft=True"
            )

    @property
    def d_ff(self) -> int:
        """Hidden width of the feed-forward."""
        return 8 * max(1, round(self.hidden_dim / 3))

    def backbone(self, *, causal: bool = True) -> BackboneConfig:
        """Return the stack of blocks: of a language model, or of an encoder, which sees whole sequences."""
        mixer, options = _mixer(self, causal)
        mixers, all_options = (mixer,), {mixer: options} if options else {}
        if self.layer_type == LayerType.HYBRID:
            mixers = (mixer,) * (min(self.attention_every, self.num_layers) - 1) + ("attention",)
            all_options = {name: options for name, options in all_options.items() if name in mixers}
            all_options["attention"] = {"rotary": self.use_rope}
        mixed = self.use_moe or self.layer_type == LayerType.MOE
        return BackboneConfig(
            d_model=self.hidden_dim,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mixers=mixers,
            mixer_options=all_options,
            d_ff=self.d_ff,
            dropout=self.dropout,
            mixture=MixtureConfig(experts=self.num_experts if mixed else 0, active=self.num_active_experts),
            checkpointing=self.use_gradient_checkpointing,
        )

    def model(self, *, causal: bool = True) -> ModelConfig:
        """Return the same model as the plain data that training, checkpoints and the command line go by.

        Raises:
            ValueError: for a model that does not read tokens.
        """
        if self.modality != ModalityType.TEXT:
            raise _wrong(self.modality, "tokens", ModalityType.TEXT)
        return ModelConfig(
            family="spectral",
            vocab_size=self.vocab_size,
            context_length=self.max_seq_len,
            backbone=self.backbone(causal=causal),
            embedding=EmbeddingConfig(width=self.embed_dim, tied=self.tie_word_embeddings),
        )

    def vision(self) -> VisionEncoderConfig:
        """Return the encoder of images: filters over grids of patches, and attention in hybrid models.

        A grid is filtered as a whole, with few waves, so there are no chunks and nothing to choose: sparsity,
        chunk_size, use_hierarchical_fft, use_adaptive_sparsity and use_cross_frequency are not read.

        Raises:
            ValueError: for a model that does not read images.
        """
        if self.modality not in (ModalityType.VISION, ModalityType.VIDEO):
            raise _wrong(self.modality, "images", ModalityType.VISION)
        plan = self.backbone(causal=False)
        mixers = tuple(name if name == "attention" else "grid_filter" for name in plan.mixers)
        options: dict[str, dict[str, Any]] = {"grid_filter": {"phase_aware": self.use_phase_aware}}
        if "attention" in mixers:
            # Patches have coordinates, and no order.
            options["attention"] = {"rotary": False}
        options = {name: given for name, given in options.items() if name in mixers}
        return VisionEncoderConfig(
            patch_size=self.vision_patch_size, backbone=replace(plan, mixers=mixers, mixer_options=options)
        )

    def video(self) -> VideoEncoderConfig:
        """Return the encoder of films: that of images, and as many layers over time.

        Raises:
            ValueError: for a model that does not read films.
        """
        if self.modality != ModalityType.VIDEO:
            raise _wrong(self.modality, "films", ModalityType.VIDEO)
        return VideoEncoderConfig(frames=self.vision(), backbone=self.backbone(causal=False))

    def audio(self, *, causal: bool = False) -> AudioEncoderConfig:
        """Return the encoder of sound.

        Raises:
            ValueError: for a model that does not read sound.
        """
        if self.modality != ModalityType.AUDIO:
            raise _wrong(self.modality, "sound", ModalityType.AUDIO)
        return AudioEncoderConfig(
            sample_rate=self.audio_sample_rate, causal=causal, backbone=self.backbone(causal=causal)
        )

    def fusion(self) -> FusionConfig:
        """Return the fusion of all senses, whose encoders are as wide as this model."""
        return FusionConfig(widths=dict.fromkeys(SENSES, self.hidden_dim), backbone=self.backbone(causal=False))


def _wrong(modality: ModalityType | str, read: str, wanted: ModalityType) -> ValueError:
    return ValueError(f"modality={str(modality)!r}, but this model reads {read}; take modality={str(wanted)!r}")


def _mixer(config: SpectralConfig, causal: bool) -> tuple[str, dict[str, Any]]:
    """The mixer of a layer and its options: the one place that knows."""
    kind = config.layer_type
    if not config.use_hierarchical_fft or (causal and kind not in CHUNKED):
        return "spectral_gate", {"phase_aware": config.use_phase_aware}
    longest = min(config.max_seq_len, LONGEST_CHUNK) if causal else config.max_seq_len
    options: dict[str, Any] = {
        "chunk_size": min(config.chunk_size, longest),
        "sparsity": config.sparsity if kind in SELECTIVE else None,
        "adaptive": kind == LayerType.ADAPTIVE and config.use_adaptive_sparsity,
    }
    if kind == LayerType.MULTISCALE:
        options["num_freq_bands"] = SCALES
    options["phase_aware"], options["cross_frequency"] = config.use_phase_aware, config.use_cross_frequency
    if causal:
        return "hierarchical_fft", options
    return "spectral_frames", {**options, "dropout": config.dropout}


def _named(field: str, got: str, kind: type[E]) -> E:
    known = {member.value: member for member in kind}
    if got not in known:
        raise unknown_name(field, str(got), known)
    return known[got]


COUNTS = (
    "vocab_size",
    "embed_dim",
    "hidden_dim",
    "num_layers",
    "max_seq_len",
    "num_heads",
    "chunk_size",
    "vision_patch_size",
    "audio_sample_rate",
    "num_experts",
    "num_active_experts",
    "attention_every",
)


def _check_numbers(config: SpectralConfig) -> None:
    for name in COUNTS:
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)}; wanted at least 1")
    if config.hidden_dim % config.num_heads:
        raise ValueError(
            f"hidden_dim={config.hidden_dim} is not a multiple of num_heads={config.num_heads}; change one of them"
        )
    if not 0 < config.sparsity < 1:
        raise ValueError(f"sparsity={config.sparsity}; wanted a share of the modes between 0 and 1, such as 0.15")
    adaptive = config.layer_type == LayerType.ADAPTIVE and config.use_adaptive_sparsity
    if adaptive and not LEAST <= config.sparsity <= MOST:
        raise ValueError(
            f"sparsity={config.sparsity}; adaptive heads keep {LEAST} to {MOST} of the modes, and begin there: change "
            "it, or take use_adaptive_sparsity=False"
        )
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout={config.dropout}; wanted a probability from 0 to below 1")
    if config.num_active_experts > config.num_experts:
        raise ValueError(
            f"num_active_experts={config.num_active_experts} is more than num_experts={config.num_experts}; "
            "change one of them"
        )
