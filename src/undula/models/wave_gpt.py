"""Wave-Native GPT: tokens as wave packets, blocks that mix by interference, a linear head."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, mixer_options
from undula.models.backbone import Backbone, LayerHook, States, collector
from undula.models.config import BackboneConfig
from undula.models.init import initialise
from undula.names import unknown_name
from undula.nn.wave_packet import WavePacketEmbedding
from undula.ops.kernel_attention import KERNELS
from undula.ops.metrics import mean_nats
from undula.ops.sampling import drawn
from undula.shapes import PaddingMask, Sequence, TokenIds

MODEL_TYPES = ("wave", "standard")
MODES = ("quadratic", "linear")


@dataclass(frozen=True, kw_only=True)
class WaveGPTConfig:
    """A Wave-Native GPT.

    Args:
        vocab_size: number of tokens.
        d_model: width.
        num_layers: blocks.
        num_heads: heads of each block's mixer.
        num_waves: waves of a token's packet, and of a head in the wave mixers.
        num_harmonics: harmonics of each wave of a packet.
        block_size: longest sequence, in tokens; None: no limit.
        dropout: probability, on mixing weights and on what each branch adds.
        model_type: "standard" is a plain transformer, whatever the switches below say.
        use_wave_embeddings: tokens as wave packets; False: a table.
        use_interference_attention: weights are the energy of interfering waves.
        pure_wave_attention: weights are a kernel of the product of sinusoids.
        pure_wave_kernel: "elu_plus_one", "sigmoid" or "exp".
        pure_wave_mode: "quadratic" applies the kernel to products, "linear" to the waves themselves.
        hybrid_attention: softmax of the cosine between waves. Without any of the three: plain softmax attention with
            rotary positions.
        attention_options: further options of the mixer by name, such as {"formulation": "evolved"}.
        d_ff: hidden width of the gated feed-forward; by default 8/3 of d_model, a multiple of 8.

    Raises:
        ValueError: for an unknown name, or more than one of the three kinds of wave attention.

    Source: "Wave-Native GPT", reference document, section Configuration.
    """

    vocab_size: int
    d_model: int
    num_layers: int
    num_heads: int
    num_waves: int = 16
    num_harmonics: int = 4
    block_size: int | None = 256
    dropout: float = 0.1
    model_type: str = "wave"
    use_wave_embeddings: bool = True
    use_interference_attention: bool = True
    pure_wave_attention: bool = False
    pure_wave_kernel: str = "elu_plus_one"
    pure_wave_mode: str = "quadratic"
    hybrid_attention: bool = False
    attention_options: dict[str, Any] = field(default_factory=dict)
    d_ff: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("model_type", MODEL_TYPES), ("pure_wave_kernel", KERNELS), ("pure_wave_mode", MODES)):
            if getattr(self, name) not in known:
                raise unknown_name(name, str(getattr(self, name)), known)
        kinds = ("use_interference_attention", "pure_wave_attention", "hybrid_attention")
        chosen = [kind for kind in kinds if getattr(self, kind)]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} are both on; a block has one kind of attention: switch one off")

    @property
    def mixer(self) -> str:
        """The registered name of the mixer that the switches ask for."""
        if self.model_type == "standard":
            return "attention"
        if self.use_interference_attention:
            return "interference"
        if self.pure_wave_attention:
            return "pure_wave" if self.pure_wave_mode == "quadratic" else "pure_wave_linear"
        return "cosine" if self.hybrid_attention else "attention"

    @property
    def has_packets(self) -> bool:
        """Whether tokens become wave packets."""
        return self.model_type == "wave" and self.use_wave_embeddings

    def backbone(self) -> BackboneConfig:
        """Return the stack of blocks that the switches ask for."""
        described = {"num_waves": self.num_waves, "dropout": self.dropout, "kernel": self.pure_wave_kernel}
        known = mixer_options(MIXERS[self.mixer])
        options = {name: value for name, value in described.items() if name in known} | self.attention_options
        return BackboneConfig(
            d_model=self.d_model,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mixers=(self.mixer,),
            mixer_options={self.mixer: options},
            d_ff=self.d_ff or 8 * round(self.d_model / 3),
            dropout=self.dropout,
        )


@dataclass
class PositionState(State):
    """How many real tokens each row has behind it."""

    seen: Int[Tensor, " B"]


class WaveGPT(nn.Module):
    """A causal language model of wave packets: head(ln_f(blocks(embedding(tokens)))).

    Args:
        config: what it is made of.
        backbone: takes the place of the blocks that `config` describes.

    Raises:
        ValueError: for widths that do not divide, or an unknown option of a mixer.

    Attributes: config, embedding, blocks, ln_f, head.

    Source: "Wave-Native GPT", reference document.
    """

    def __init__(self, config: WaveGPTConfig, *, backbone: BackboneConfig | None = None) -> None:
        super().__init__()
        self.config = config
        backbone = backbone or config.backbone()
        packets = (config.vocab_size, config.d_model, config.num_waves, config.num_harmonics)
        self.embedding = (
            WavePacketEmbedding(*packets) if config.has_packets else nn.Embedding(config.vocab_size, config.d_model)
        )
        self.backbone = Backbone(backbone)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        initialise(self, backbone.num_layers)

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks."""
        return self.backbone.layers

    @property
    def ln_f(self) -> nn.Module:
        """The normalisation before the head."""
        return self.backbone.norm_f

    def forward(
        self,
        idx: TokenIds,
        targets: TokenIds | None = None,
        standard_embed_ratio: float = 0.0,
        return_layer_outputs: bool = False,
    ) -> tuple[Any, ...]:
        """Return (logits, loss), or (logits, loss, layer outputs).

        Args:
            idx: tokens.
            targets: the token after each position, -100 where none counts; without them the loss is None.
            standard_embed_ratio: share of the table in the embedding, 0 (packets alone) to 1 (table alone).
            return_layer_outputs: also return the residual stream before the first block and after each.

        Raises:
            ValueError: for more tokens than block_size, or a share outside 0 to 1.
        """
        layers: list[Tensor] = []
        logits = self.scores(
            idx, ratio=standard_embed_ratio, on_layer=collector(layers) if return_layer_outputs else None
        )
        loss = None if targets is None else mean_nats(logits, targets)
        return (logits, loss, layers) if return_layer_outputs else (logits, loss)

    def scores(
        self,
        input_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        *,
        ratio: float | Float[Tensor, ""] = 0.0,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Any:
        """Return scores (B, T, V) of the token after each position; with a state, also the new state.

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token; positions are counted from the first of them.
            ratio: share of the table in the embedding.
            state: from `init_state` or an earlier call; the tokens continue that sequence.
            on_layer: called with each layer's index and residual stream.

        Raises:
            ValueError: for more tokens than block_size.
        """
        longest = self.config.block_size
        if longest is not None and input_ids.shape[1] > longest:
            raise ValueError(
                f"got {input_ids.shape[1]} tokens, more than block_size={longest}; "
                "shorten the sequence, or build the model with a larger block_size"
            )
        first, rest = (None, None) if state is None else (state[0], state[1:])
        x, after = self._embedded(input_ids, attention_mask, ratio, first)
        x = self.backbone(x, True, attention_mask, state=rest, on_layer=on_layer)
        if rest is None or after is None:
            return self.head(x)
        x, later = x
        return self.head(x), (after, *later)

    def _embedded(
        self, ids: TokenIds, mask: PaddingMask | None, ratio: float | Tensor, past: State | None
    ) -> tuple[Sequence, PositionState | None]:
        """The embedding of each token at its position, and how many were seen after it."""
        if past is None and not isinstance(self.embedding, WavePacketEmbedding):
            return self.embedding(ids), None
        real = torch.ones_like(ids) if mask is None else mask.long()
        before = past.seen[:, None] if isinstance(past, PositionState) else ids.new_zeros(len(ids), 1)
        counted = before + real.cumsum(1)
        after = None if past is None else PositionState(counted[:, -1])
        if not isinstance(self.embedding, WavePacketEmbedding):
            return self.embedding(ids), after
        return self.embedding(ids, ratio, positions=(counted - 1).clamp_min(0)), after

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state before the first token."""
        seen = torch.zeros(batch_size, dtype=torch.long, device=device or self.head.weight.device)
        return PositionState(seen), *self.backbone.init_state(batch_size, device=device, dtype=dtype)

    def harmonic_amplitudes(self) -> Tensor | None:
        """Return the amplitudes of the packets' harmonics; None for a model without packets."""
        if isinstance(self.embedding, WavePacketEmbedding):
            return self.embedding.get_harmonic_amplitudes()
        return None

    def mixers(self) -> list[Mixer]:
        """Return the mixers, first layer first."""
        return self.backbone.mixers()

    @torch.no_grad()
    def generate(
        self,
        idx: TokenIds,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "B more"]:
        """Return the tokens with as many new ones after them, drawn from the model in evaluation mode.

        Up to block_size tokens each step computes the new position alone; beyond, the last block_size tokens again,
        since every position moves.

        Args:
            idx: the prompt.
            max_new_tokens: how many tokens to add.
            temperature: divides the scores; near 0 the best token is always taken.
            top_k: draw from this many best tokens only.
            generator: of the random numbers.

        Raises:
            ValueError: for an empty prompt, or a temperature or top_k that is not positive.
        """
        if idx.shape[1] < 1 or temperature <= 0 or (top_k is not None and top_k < 1):
            raise ValueError(
                f"got a prompt of {idx.shape[1]} tokens, temperature={temperature} and top_k={top_k}; "
                "wanted at least one token and positive numbers"
            )
        was_training, size = self.training, self.config.block_size
        self.eval()
        try:
            state, fresh = self.init_state(len(idx)), idx
            for _ in range(max_new_tokens):
                if size is None or idx.shape[1] <= size:
                    logits, state = self.scores(fresh, state=state)
                else:
                    logits = self.scores(idx[:, -size:])
                fresh = drawn(logits[:, -1], temperature, top_k, generator=generator)
                idx = torch.cat([idx, fresh], dim=1)
        finally:
            self.train(was_training)
        return idx
