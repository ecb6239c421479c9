"""From one sequence of tokens to another: an encoder that reads in both directions and a decoder that reads it."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.mixers.cross import Memory
from undula.models.backbone import Backbone, States
from undula.models.config import EncoderDecoderConfig
from undula.models.init import initialise
from undula.nn.token_table import TokenHead, TokenTable
from undula.shapes import Logits, PaddingMask, SourceIds, TokenIds


class EncoderDecoder(nn.Module):
    """Two backbones over one table of embeddings, and one output head for training and generation alike.

    The encoder is bidirectional, the decoder causal; each of its blocks reads the encoder's output through a cross
    mixer. Scores at target position i are those of the token after it.

    Args:
        config: all sizes.

    Raises:
        ValueError: when the decoder has no cross mixer, the encoder has one, or their widths differ.
    """

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        encoder, decoder = config.encoder, config.decoder
        if encoder.d_model != decoder.d_model:
            raise ValueError(
                f"encoder.d_model={encoder.d_model}, decoder.d_model={decoder.d_model}; wanted one width for both"
            )
        if decoder.cross is None or encoder.cross is not None:
            raise ValueError(
                f"encoder.cross={encoder.cross!r}, decoder.cross={decoder.cross!r}; wanted None for the encoder, and "
                "'landmarks' or 'attention' for the decoder"
            )
        self.context_length = config.context_length
        width = decoder.d_model
        narrow = config.embedding.width or width
        self.embedding = TokenTable(config.vocab_size, width, narrow)
        self.decoder, self.encoder = Backbone(decoder), Backbone(encoder)
        self.head = TokenHead(config.vocab_size, width, narrow, tied=config.embedding.tied)
        initialise(self, max(encoder.num_layers, decoder.num_layers))

    def forward(self, source: SourceIds, target: TokenIds, source_mask: Tensor | None = None) -> Logits:
        """Return scores (B, T, V) of the token after each target position.

        Args:
            source: tokens to read.
            target: tokens so far, the start token first.
            source_mask: 1 = real token of the source, padding on either side; None: all are real.

        Raises:
            ValueError: for an empty source, one longer than the context, or batches that differ.
        """
        scores: Any = self.decode(target, self.encode(source, source_mask))
        return scores

    def encode(self, source: SourceIds, source_mask: Tensor | None = None) -> Memory:
        """Return what the decoder reads of a source.

        Raises:
            ValueError: for an empty source, or one longer than the context.
        """
        if source.shape[1] == 0:
            raise ValueError(f"the source has the shape {tuple(source.shape)}, no token; give at least one to each row")
        self._check_length("source", source.shape[1])
        real = None
        if source_mask is not None:
            if source_mask.shape != source.shape:
                raise ValueError(
                    f"source_mask has the shape {tuple(source_mask.shape)}; wanted that of the source, "
                    f"{tuple(source.shape)}"
                )
            real = source_mask.bool()
            if not torch.compiler.is_compiling():
                real = _without_empty_rows(real)
        hidden = self.encoder(self.embedding(source), False, real)
        return Memory(hidden if real is None else torch.where(real[..., None], hidden, 0.0), real)

    def decode(
        self,
        target: TokenIds,
        memory: Memory | None = None,
        *,
        target_mask: PaddingMask | None = None,
        state: States | None = None,
        alignments: list[Tensor] | None = None,
    ) -> Logits | tuple[Logits, States]:
        """Return scores (B, T, V) of the token after each target position; with a state, also the new state.

        Args:
            target: tokens so far; with a state, further ones.
            memory: from `encode`; with a state, which holds it, None.
            target_mask: 1 = real token of the target; padding on the left.
            state: from `init_state` or an earlier call.
            alignments: takes the weights (B, N, T, S) of source positions, one entry for each block.

        Raises:
            ValueError: for batches that differ.
        """
        if memory is not None and len(memory.hidden) != len(target):
            raise ValueError(f"got {len(memory.hidden)} sources and {len(target)} targets; give one target to each")
        self._check_length("target", target.shape[1])
        x = self.embedding(target)
        out = self.decoder(x, True, target_mask, state=state, memory=memory, alignments=alignments)
        table = self.embedding.table.weight
        return self.head(out, table) if state is None else (self.head(out[0], table), out[1])

    def init_state(self, memory: Memory) -> States:
        """Return the decoder's state before the first token; all that is kept of the source is computed here, once."""
        return self.decoder.init_state(len(memory.hidden), memory=memory)

    def alignment(
        self, source: SourceIds, target: TokenIds, source_mask: Tensor | None = None
    ) -> Float[Tensor, "B T S"]:
        """Return how much each target position reads of each source position: means over blocks and heads, sum 1."""
        found: list[Tensor] = []
        self.decode(target, self.encode(source, source_mask), alignments=found)
        return torch.stack(found).mean(dim=(0, 2))

    def _check_length(self, what: str, tokens: int) -> None:
        if self.context_length is not None and tokens > self.context_length:
            raise ValueError(f"the {what} has {tokens} tokens, more than context_length={self.context_length}; cut it")


def _without_empty_rows(real: Tensor) -> Tensor | None:
    """Return the mask, or None where all is real, so that the fastest path is taken."""
    empty = (~real.any(1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"source {empty[0]} is empty: nothing but padding; give at least one token to each row")
    return None if bool(real.all()) else real
