"""Spectral language models: a table of tokens, the one backbone with spectral mixers, scores of the next token."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from undula.mixers.base import State
from undula.models.backbone import Backbone, LayerHook, States, build_block, build_experts
from undula.models.base import FAMILIES, LanguageModel, check_tokens
from undula.models.config import ModelConfig
from undula.models.decoding import Request, generate_tokens
from undula.models.init import initialise
from undula.models.spectral_config import SpectralConfig
from undula.nn.feed_forward import SwiGLU
from undula.nn.mixture import feed_forward
from undula.nn.token_table import TokenHead, TokenTable
from undula.shapes import Logits, PaddingMask, Sequence, TokenIds


class SpectralFFN(nn.Module):
    """The feed-forward of a spectral model: gated, 8/3 as wide as the stream, or a mixture of experts.

    Args:
        config: the model.
    """

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        plan = config.backbone()
        self.ffn = build_experts(plan) or SwiGLU(plan.d_model, plan.d_ff)
        initialise(self, config.num_layers)

    def forward(self, x: Sequence, attention_mask: PaddingMask | None = None) -> Sequence:
        """Return the gated projection of each position."""
        return feed_forward(self.ffn, x, attention_mask)


class SpectralLayer(nn.Module):
    """One layer of a spectral model: x + mixer(norm(x)), then x + ffn(norm(x)).

    Args:
        config: the model; its layer type decides which mixer.
        layer: which layer of the model, counted from 0; matters where not all are of one kind.
        causal: whether later positions are hidden from earlier ones, as in a language model; False: as in an encoder.

    Raises:
        ValueError: when the model has no such layer.
    """

    def __init__(self, config: SpectralConfig, layer: int = 0, *, causal: bool = True) -> None:
        super().__init__()
        if not 0 <= layer < config.num_layers:
            raise ValueError(f"layer={layer} of num_layers={config.num_layers}; wanted 0 to {config.num_layers - 1}")
        self.causal = causal
        self.block = build_block(config.backbone(causal=causal), layer)
        initialise(self, config.num_layers)

    def forward(
        self, x: Sequence, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Return the next residual stream (B, T, hidden_dim); with a state, also the new state."""
        if state is None:
            return self.block(x, causal=self.causal, attention_mask=attention_mask)
        return self.block(x, causal=self.causal, attention_mask=attention_mask, state=state)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Return the state before the first position."""
        mixer: Any = self.block.get_submodule("attn")
        return mixer.init_state(batch_size, device=device, dtype=dtype)


class SpectralBackbone(nn.Module):
    """Tokens to features (B, T, D), for all that spectral models are used for.

    Args:
        config: the model, as documented or as plain data.
        causal: whether later tokens are hidden from earlier ones; False: every token sees all.

    Attributes: embedding, backbone, max_seq_len (None: no limit).
    """

    def __init__(self, config: SpectralConfig | ModelConfig, *, causal: bool = False) -> None:
        super().__init__()
        plan = config.model(causal=causal) if isinstance(config, SpectralConfig) else config
        width = plan.backbone.d_model
        self.causal, self.max_seq_len, self.vocab_size = causal, plan.context_length, plan.vocab_size
        self.embedding = TokenTable(plan.vocab_size, width, plan.embedding.width or width)
        self.backbone = Backbone(plan.backbone)

    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Sequence | tuple[Sequence, States]:
        """Return the normalised features of each token; with a state, also the new state.

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token.
            state: from `init_state` or an earlier call, to continue a sequence.
            on_layer: called with each layer's index and residual stream.

        Raises:
            ValueError: as `check_tokens` does.
        """
        check_tokens(input_ids, self.vocab_size, self.max_seq_len, "max_seq_len")
        return self.backbone(self.embedding(input_ids), self.causal, attention_mask, state=state, on_layer=on_layer)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state before the first token."""
        return self.backbone.init_state(batch_size, device=device, dtype=dtype)


@FAMILIES.register("spectral")
class SpectralLanguageModel(LanguageModel):
    """A causal language model: scores = head(backbone(embedding(tokens))).

    It decodes with a state, whose size does not grow unless a layer attends.

    Args:
        config: the model, as documented or as plain data.

    Raises:
        ValueError: for widths that do not divide, or an unknown mixer or option.

    Attributes: config; body, table and blocks; head.

    Source: "Spectral Neural Networks v3.0", reference document.
    """

    def __init__(self, config: SpectralConfig | ModelConfig) -> None:
        super().__init__()
        self.config = config
        plan = config.model() if isinstance(config, SpectralConfig) else config
        width = plan.backbone.d_model
        self.body = SpectralBackbone(plan, causal=True)
        self.head = TokenHead(plan.vocab_size, width, plan.embedding.width or width, tied=plan.embedding.tied)
        initialise(self, plan.backbone.num_layers)

    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Logits | tuple[Logits, States]:
        """Return scores; see `LanguageModel.forward`. Raises as `SpectralBackbone.forward` does."""
        x = self.body(input_ids, attention_mask, state=state, on_layer=on_layer)
        if state is None:
            return self.scores(x)
        x, new = x
        return self.scores(x), new

    @property
    def longest(self) -> int | None:
        """Tokens of the longest sequence; `forward` with a state sees one piece of it, and cannot count."""
        return self.body.max_seq_len

    def scores(self, x: Sequence) -> Logits:
        """Return the scores of the next token for features of the body."""
        return self.head(x, self.body.embedding.table.weight)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state before the first token."""
        return self.body.init_state(batch_size, device=device, dtype=dtype)

    def get_num_params(self, non_embedding: bool = True) -> int:
        """Return the number of parameters, by default without the table of tokens."""
        table = self.body.embedding.table.weight.numel() if non_embedding else 0
        return sum(p.numel() for p in self.parameters()) - table

    def generate(
        self,
        input_ids: TokenIds,
        max_length: int = 100,
        temperature: float = 1.0,
        top_k: int | None = 50,
        top_p: float = 0.9,
        repetition_penalty: float = 1.0,
        do_sample: bool = True,
        eos_token_id: int | None = None,
        *,
        attention_mask: PaddingMask | None = None,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "B longer"]:
        """Return the tokens with new ones after them, in evaluation mode; each step computes one position.

        It ends at max_length, or when every row has its end token; rows that ended before are filled up with it.

        Args:
            input_ids: the prompts.
            max_length: of prompt and new tokens together.
            temperature: divides the scores.
            top_k: draw from this many best tokens only; None: from all.
            top_p: draw from the fewest best tokens whose chances reach this sum.
            repetition_penalty: above 1, tokens that occurred are less likely.
            do_sample: False takes the best token.
            eos_token_id: the end token.
            attention_mask: 1 = real token, where prompts of unequal length are padded on the left.
            generator: of the random numbers.

        Raises:
            ValueError: for a number out of range, or a prompt that leaves no room.
        """
        request = Request(max_length, temperature, top_k, top_p, repetition_penalty, do_sample, eos_token_id)
        return generate_tokens(self, input_ids, request, self.body.max_seq_len, attention_mask, generator)
