"""A translator under audit: its decoder as a language model of translations, and what it makes of its source."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from undula.audit.finding import Finding, above, at_most
from undula.audit.model_subject import FOREIGN
from undula.audit.run import MODEL_AUDITS, audit_language_model
from undula.audit.subject import audited_copy, difference
from undula.shapes import TokenIds

LENGTH, PADDED = 23, 9
"""Tokens of the source, and of the padding behind it."""

TARGET = 13


class TargetReader(nn.Module):
    """A translator of one source as a language model of its translations.

    Args:
        translator: an encoder-decoder of Hugging Face's kind.
        source: token ids (1, S).
    """

    def __init__(self, translator: nn.Module, source: TokenIds) -> None:
        super().__init__()
        self.translator = translator
        self.register_buffer("source", source, persistent=False)

    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
    ) -> Any:
        """Return what the translator returns for these translations of its one source.

        Args:
            input_ids: translations so far.
            attention_mask: 1 = real token of a translation.
            past_key_values: what the translations continue.
            use_cache: make such a cache.
        """
        return self.translator(
            input_ids=self.get_buffer("source").expand(len(input_ids), -1),
            decoder_input_ids=input_ids,
            decoder_attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )


def audit_translator(model: nn.Module, vocab_size: int, *, audits: Collection[str] = MODEL_AUDITS) -> list[Finding]:
    """Return what was measured of an encoder-decoder: the audits of a language model of its decoder, and of its source.

    Copies on the processor are measured, as `audit_language_model` does; the model stays as it is.

    Args:
        model: of Hugging Face's kind.
        vocab_size: number of tokens, of both languages.
        audits: names of the audits of the decoder.

    Raises:
        ValueError: for an unknown audit.
    """
    draw = torch.Generator().manual_seed(0)
    source = torch.randint(vocab_size, (1, LENGTH), generator=draw)
    findings = audit_language_model(TargetReader(model, source), vocab_size, audits=audits)
    twin = audited_copy(model)
    target = torch.randint(vocab_size, (1, TARGET), generator=draw)
    other = (source + torch.randint(1, vocab_size, source.shape, generator=draw)) % vocab_size
    with torch.no_grad():
        return [*findings, _padded_source(twin, source, target, other), _source_read(twin, source, target, other)]


def _padded_source(model: nn.Module, source: Tensor, target: Tensor, other: Tensor) -> Finding:
    """Compare the scores of a source with those of the same one behind which there is padding."""
    behind = torch.cat([source, other[:, :PADDED]], dim=1)
    real = torch.ones_like(behind)
    real[:, LENGTH:] = 0
    alone = _scores(model, source, target, torch.ones_like(source))
    error = difference(_scores(model, behind, target, real), alone)
    return at_most("source padding", error, FOREIGN, f"largest relative error with {PADDED} tokens of padding behind")


def _source_read(model: nn.Module, source: Tensor, target: Tensor, other: Tensor) -> Finding:
    """See that every token of the source changes every score that comes after."""
    rows = source.repeat(LENGTH + 1, 1)
    places = torch.arange(LENGTH)
    rows[places, places] = other[0]
    scores = _scores(model, rows, target.expand(len(rows), -1), torch.ones_like(rows))
    moved = (scores[:-1] - scores[-1]).abs().amax(-1) / scores[-1].std()
    return above("source read", moved.amin().item(), FOREIGN, "least change of a position's scores by a source token")


def _scores(model: nn.Module, source: Tensor, target: Tensor, real: Tensor) -> Tensor:
    return model(input_ids=source, attention_mask=real, decoder_input_ids=target, use_cache=False).logits
