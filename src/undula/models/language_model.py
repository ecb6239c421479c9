"""Causal language models: token ids in, scores of the next token out, whatever is between."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

import undula.models.spectral
import undula.models.spectral_llm  # noqa: F401  (both add their families)
from undula.losses.sparsification import HarmonicSparsificationLoss
from undula.mixers.base import MIXERS, Mixer, build_mixer
from undula.models.backbone import Backbone, LayerHook, States
from undula.models.base import FAMILIES, LanguageModel, check_tokens
from undula.models.config import CodecConfig, ModelConfig
from undula.models.init import initialise
from undula.models.reduction import HarmonicReduction
from undula.models.token_codec import TokenDecoder, TokenEncoder
from undula.models.wave_gpt import WaveGPT, WaveGPTConfig
from undula.models.wave_transformer import WaveTransformer
from undula.nn.harmonic_selector import AdaptiveHarmonicSelector
from undula.nn.wave_packet import WavePacketEmbedding
from undula.shapes import Logits, PaddingMask, TokenIds
from undula.wave import Wave


def build_language_model(config: ModelConfig) -> LanguageModel:
    """Build a language model.

    Raises:
        ValueError: for an unknown family, mixer or option, widths that do not divide, or a mixer that sees the future.
    """
    for name in (*config.backbone.mixers, config.codec.mixer):
        if not MIXERS[name].traits.causal:
            raise ValueError(
                f"{name} looks both ways, so a language model of it would read the answers; it serves encoders. "
                "Causal mixers: " + ", ".join(other for other in MIXERS if MIXERS[other].traits.causal)
            )
    return FAMILIES[config.family](config)


@FAMILIES.register("plain")
class PlainLanguageModel(LanguageModel):
    """Embedding, backbone, linear head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.vocab_size = config.vocab_size
        self.embedding = nn.Embedding(config.vocab_size, config.backbone.d_model)
        self.backbone = Backbone(config.backbone)
        self.head = nn.Linear(config.backbone.d_model, config.vocab_size, bias=False)
        initialise(self, config.backbone.num_layers)

    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Logits | tuple[Logits, States]:
        """Return scores; see `LanguageModel.forward`."""
        check_tokens(input_ids, self.vocab_size)
        x = self.backbone(self.embedding(input_ids), True, attention_mask, state=state, on_layer=on_layer)
        if state is None:
            return self.head(x)
        x, new = x
        return self.head(x), new

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state before the first token."""
        return self.backbone.init_state(batch_size, device=device, dtype=dtype)


@FAMILIES.register("wave")
class WaveLanguageModel(LanguageModel):
    """A Wave Transformer between a token encoder and a token decoder, with rotary positions wherever it attends."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        backbone = config.backbone
        if backbone.d_model % 3:
            raise ValueError(f"d_model={backbone.d_model} is not 3 x harmonics; take a multiple of 3")
        harmonics, self.vocab_size = backbone.d_model // 3, config.vocab_size
        sizes = _codec_sizes(config.codec)
        ordered = config.codec.ordered
        self.sparsification = HarmonicSparsificationLoss(1 - config.sparsity.k_ratio)
        self.sparsity_weight = config.sparsity.weight
        self.transformer = WaveTransformer(
            TokenEncoder(config.vocab_size, harmonics, **sizes, mixer=_codec_mixer(config.codec), ordered=ordered),
            TokenDecoder(config.vocab_size, harmonics, **sizes, mixer=_codec_mixer(config.codec)),
            num_harmonics=harmonics,
            backbone=backbone,
            reduction=_reduction(config, harmonics),
        )

    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Logits | tuple[Logits, States]:
        """Return scores; see `LanguageModel.forward`."""
        check_tokens(input_ids, self.vocab_size)
        given = {"input_ids": input_ids}
        return self.transformer(given, attention_mask=attention_mask, state=state, on_layer=on_layer)

    @property
    def reduction(self) -> HarmonicReduction | None:
        """What lets the blocks compute on part of the harmonics."""
        return self.transformer.reduction

    def aux_loss(self) -> Tensor | None:
        """Return what the last forward pass adds to the loss, once: the selector's share and what parts add."""
        others = super().aux_loss()
        if self.reduction is None or self.reduction.selection is None:
            return others
        stats, self.reduction.selection = self.reduction.selection, None
        chosen = self.sparsity_weight * self.sparsification(stats, self.reduction.real)["total"]
        return chosen if others is None else chosen + others

    def set_freq_limit(self, freq_limit: float) -> None:
        """Let frequencies below a share of the band through; see `HarmonicReduction.set_freq_limit`."""
        if self.reduction is None:
            raise ValueError("the model has freq_limit='none'; set it to 'mask' or 'slice'")
        self.reduction.set_freq_limit(freq_limit)

    def settle(self) -> None:
        """Let the blocks compute on the harmonics kept most so far; see `HarmonicReduction.settle`."""
        if self.reduction is None:
            raise ValueError("the model has no selector; set model.sparsity.k_ratio and model.sparsity.settles")
        self.reduction.settle()

    def after_loading(self) -> None:
        """Take note of the limit or the choice that was loaded."""
        if self.reduction is not None:
            self.reduction.after_loading()

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state before the first token."""
        return self.transformer.init_state(batch_size, device=device, dtype=dtype)

    def waves(self, input_ids: TokenIds) -> Wave:
        """Return what the token encoder makes of the tokens."""
        return self.transformer.wave_encoder(input_ids=input_ids)

    def kept_harmonics(self, input_ids: TokenIds) -> Bool[Tensor, "B T H"] | None:
        """Return which harmonics the selector keeps of each token."""
        if self.reduction is None or self.reduction.selector is None:
            return None
        if self.reduction.settled is not None and self.reduction.settled.any():
            return self.reduction.settled.expand(*input_ids.shape, -1)
        return self.reduction.selector.choose(self.waves(input_ids).to_representation(), drawn=False).chosen


@FAMILIES.register("wave_gpt")
class WaveGPTLanguageModel(LanguageModel):
    """A Wave-Native GPT with any backbone.

    Attributes: gpt; standard_embed_ratio, the share of the embedding table, which training moves from 1 to 0 and every
    later use respects (None unless `packets.annealed`).
    """

    standard_embed_ratio: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        backbone, packets = config.backbone, config.packets
        described = WaveGPTConfig(
            vocab_size=config.vocab_size,
            d_model=backbone.d_model,
            num_layers=backbone.num_layers,
            num_heads=backbone.num_heads,
            num_waves=max(1, packets.num_waves),
            num_harmonics=packets.num_harmonics,
            block_size=config.context_length,
            use_wave_embeddings=packets.num_waves > 0,
        )
        self.vocab_size = config.vocab_size
        self.gpt = WaveGPT(described, backbone=backbone)
        if isinstance(self.gpt.embedding, WavePacketEmbedding) and not packets.annealed:
            self.gpt.embedding.finalize_annealing()
        self.register_buffer("standard_embed_ratio", torch.ones(()) if packets.annealed else None)

    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Logits | tuple[Logits, States]:
        """Return scores; see `LanguageModel.forward`."""
        check_tokens(input_ids, self.vocab_size)
        ratio = 0.0 if self.standard_embed_ratio is None else self.standard_embed_ratio
        return self.gpt.scores(input_ids, attention_mask, ratio=ratio, state=state, on_layer=on_layer)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state before the first token."""
        return self.gpt.init_state(batch_size, device=device, dtype=dtype)

    def use_counts(self, counts: Int[Tensor, " V"]) -> None:
        """Rank the packets' masses by how often each token occurs."""
        if isinstance(self.gpt.embedding, WavePacketEmbedding):
            self.gpt.embedding.set_counts(counts)

    def finalize_annealing(self) -> bool:
        """Give the embedding table free once its share is 0; return whether it was."""
        embedding, share = self.gpt.embedding, self.standard_embed_ratio
        if not isinstance(embedding, WavePacketEmbedding) or share is None or share.any():
            return False
        embedding.finalize_annealing()
        self.standard_embed_ratio = None
        return True

    def harmonic_amplitudes(self) -> Tensor | None:
        """Return the amplitudes of the packets' harmonics."""
        return self.gpt.harmonic_amplitudes()

    def waves(self, input_ids: TokenIds) -> Wave | None:
        """Return the packets of the tokens, each where it stands; None without packets."""
        embedding = self.gpt.embedding
        return embedding.waves(input_ids) if isinstance(embedding, WavePacketEmbedding) else None


def _reduction(config: ModelConfig, harmonics: int) -> HarmonicReduction | None:
    sparse, limit, ordered = config.sparsity, config.freq_limit, config.codec.ordered
    if limit == "slice" and not ordered:
        raise ValueError("freq_limit='slice' with codec.ordered=False: slices need harmonics in order")
    if sparse.k_ratio == 1 and limit == "none":
        return None
    selector = None
    if sparse.k_ratio != 1:
        selector = AdaptiveHarmonicSelector(
            harmonics, 3 * harmonics, sparse.k_ratio, sparse.temperature, sparse.min_k, sparse.dynamic_k
        )
    return HarmonicReduction(
        harmonics,
        selector=selector,
        gather=sparse.gather,
        settles=sparse.settles,
        limit=limit,
        hidden_ratio=sparse.hidden_ratio,
        inner_ratio=sparse.inner_ratio,
    )


def _codec_mixer(codec: CodecConfig) -> Mixer | None:
    return build_mixer(codec.mixer, codec.d_model, codec.num_heads) if codec.num_heads else None


def _codec_sizes(codec: CodecConfig) -> dict:
    return {
        "d_model": codec.d_model,
        "hidden_mult": codec.hidden_mult,
        "num_heads": codec.num_heads,
        "num_layers": codec.num_layers,
        "dropout": codec.dropout,
    }
