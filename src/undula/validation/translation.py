"""The score of a translator on held-out sentences: nats per token of the references, and BLEU of what it writes."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from undula.data.parallel import HeldOut, Pair, collated
from undula.ops.metrics import Metrics, summed_nats
from undula.optional import late_import


@dataclass(frozen=True)
class TranslationScore:
    """How well held-out sentences are translated.

    Args:
        metrics: of the references, ends included.
        bleu: of the translations, 0 to 100, by sacrebleu with its own tokenization; NaN of none.
        translations: as text, in the order of the sentences.
    """

    metrics: Metrics = Metrics()
    bleu: float = math.nan
    translations: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many sentences."""
        return len(self.translations)

    def to_dict(self) -> dict[str, float]:
        """Return loss, perplexity and BLEU by name."""
        return {"loss": self.metrics.loss, "perplexity": self.metrics.perplexity, "bleu": self.bleu}


def evaluate_translation(
    model: Any, held_out: HeldOut, tokenizer: PreTrainedTokenizerFast, batch_size: int, options: dict[str, Any]
) -> TranslationScore:
    """Return the score; the model is left as it was, and no random number is used up.

    Args:
        model: an `UndulaForSeq2SeqLM`, or another encoder-decoder of transformers with these ids.
        held_out: sentences and their translations.
        tokenizer: of both.
        batch_size: sentences at once; decides speed and memory, not the score.
        options: of `generate`.

    Raises:
        ImportError: without sacrebleu.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            # Nearly equal lengths together: less padding.
            order = sorted(range(len(held_out.pairs)), key=lambda i: len(held_out.pairs[i][0]))
            nats, count, found = 0.0, 0, {}
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                part, tokens, texts = _scored(model, [held_out.pairs[i] for i in rows], tokenizer, options)
                nats, count = nats + part, count + tokens
                found.update(zip(rows, texts, strict=True))
    finally:
        for module, mode in modes.items():
            module.training = mode
    translations = tuple(found[i] for i in range(len(order)))
    bleu = late_import("sacrebleu").corpus_bleu(list(translations), [held_out.targets]).score
    size = sum(len(text.encode()) for text in held_out.targets)
    return TranslationScore(Metrics(nats, count, size), bleu, translations)


def _scored(
    model: Any, pairs: list[Pair], tokenizer: PreTrainedTokenizerFast, options: dict[str, Any]
) -> tuple[float, int, list[str]]:
    batch = {name: rows.to(model.device) for name, rows in collated(pairs).items()}
    labels = batch.pop("labels")
    nats, count = summed_nats(model(**batch).logits, labels)
    del batch["decoder_input_ids"]
    written = model.generate(**batch, **options)
    return nats.item(), int(count), tokenizer.batch_decode(written, skip_special_tokens=True)
