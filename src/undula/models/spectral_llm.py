"""SpectralLLM: tokens as signals, blocks of wavelets and long filters that look back only, scores by signals again."""

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.mixers.base import State
from undula.models.backbone import Backbone, LayerHook, States
from undula.models.base import FAMILIES, LanguageModel, check_tokens
from undula.models.config import ModelConfig, SignalConfig
from undula.models.decoding import Request, generate_tokens
from undula.models.init import initialise
from undula.models.spectral_llm_config import Config
from undula.models.wave_gpt import PositionState
from undula.nn.signal_embedding import HybridEmbedding, SignalPositionalEncoding, SpectralEmbedding
from undula.shapes import Logits, PaddingMask, Sequence, TokenIds


@FAMILIES.register("spectral_llm")
class SpectralLLM(LanguageModel):
    """A causal language model: scores = head(backbone(positions(embedding(tokens)))).

    It decodes with a state: of wavelet attention as large as the logarithm of how far back it reaches, of the other
    documented mixers of one size.

    Args:
        config: the model, as documented or as plain data.

    Raises:
        ValueError: for widths that do not divide, an unknown mixer, wavelet or option, or a table of another width.

    Attributes: config; embedding, positions (None without sinusoids of positions), backbone, head (None: scores are
    products with the embedding).

    Source: SpectralLLM enhancements, reference document; the mixers in causal forms.
    """

    def __init__(self, config: Config | ModelConfig) -> None:
        super().__init__()
        plan = config.model() if isinstance(config, Config) else config
        width, signal = plan.backbone.d_model, plan.signal
        if plan.embedding.width not in (None, width):
            raise ValueError(
                f"embedding.width={plan.embedding.width} with d_model={width}: signals are as wide as the blocks; "
                "leave it out, or take signal.harmonics for a smaller table"
            )
        self.config, self.vocab_size, self.max_seq_length = config, plan.vocab_size, plan.context_length
        self.embedding = _embedding(plan.vocab_size, width, signal)
        self.positions = SignalPositionalEncoding(signal.positions, width) if signal.positions else None
        self.backbone = Backbone(plan.backbone)
        self.head = None if plan.embedding.tied else nn.Linear(width, plan.vocab_size, bias=False)
        initialise(self, plan.backbone.num_layers)

    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Logits | tuple[Logits, States]:
        """Return scores; see `LanguageModel.forward`. Positions are counted from the first real token.

        Raises:
            ValueError: as `check_tokens` does.
        """
        check_tokens(input_ids, self.vocab_size, self.max_seq_length, "max_seq_length")
        first = None if state is None else state[0]
        x, after = self._embedded(input_ids, attention_mask, first)
        if state is None:
            return self.scores(self.backbone(x, True, attention_mask, on_layer=on_layer))
        x, later = self.backbone(x, True, attention_mask, state=state[1:], on_layer=on_layer)
        return self.scores(x), (after, *later)

    @property
    def longest(self) -> int | None:
        """Tokens of the longest sequence; `forward` with a state sees one piece of it, and cannot count."""
        return self.max_seq_length

    def scores(self, x: Sequence) -> Logits:
        """Return the scores of the next token for features of the backbone."""
        if self.head is not None:
            return self.head(x)
        table = self.embedding
        return F.linear(x, table.weight) if isinstance(table, nn.Embedding) else table.scores(x)

    def _embedded(self, ids: TokenIds, mask: PaddingMask | None, past: State | None) -> tuple[Sequence, PositionState]:
        """The signal of each token at its position, and how many were seen after it."""
        real = torch.ones_like(ids) if mask is None else mask.long()
        before = past.seen[:, None] if isinstance(past, PositionState) else ids.new_zeros(len(ids), 1)
        counted = before + real.cumsum(1)
        x = self.embedding(ids)
        if self.positions is not None:
            x = self.positions(x, (counted - 1).clamp_min(0))
        return x, PositionState(counted[:, -1])

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state before the first token."""
        where = device or next(self.backbone.parameters()).device
        seen = torch.zeros(batch_size, dtype=torch.long, device=where)
        return PositionState(seen), *self.backbone.init_state(batch_size, device=device, dtype=dtype)

    def generate(
        self,
        input_ids: TokenIds,
        max_length: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        do_sample: bool = True,
        eos_token_id: int | None = None,
        *,
        attention_mask: PaddingMask | None = None,
        generator: torch.Generator | None = None,
    ) -> Int[Tensor, "B longer"]:
        """Return the tokens with new ones after them, in evaluation mode; each step computes one position.

        Args: as `SpectralLanguageModel.generate`.

        Raises:
            ValueError: for a number out of range, or a prompt that leaves no room.
        """
        request = Request(max_length, temperature, top_k, top_p, repetition_penalty, do_sample, eos_token_id)
        return generate_tokens(self, input_ids, request, self.max_seq_length, attention_mask, generator)


def _embedding(vocab_size: int, width: int, signal: SignalConfig) -> nn.Embedding | SpectralEmbedding | HybridEmbedding:
    harmonics = width // 4 if signal.harmonics is None else signal.harmonics
    if not harmonics:
        return nn.Embedding(vocab_size, width)
    if signal.share is None:
        return SpectralEmbedding(vocab_size, width, harmonics)
    return HybridEmbedding(vocab_size, width, harmonics, signal.share)
