"""A translator as a task of the trainer."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from undula.data.parallel import HeldOut, Pair, Parallel, TrainPairs, collated
from undula.nn.aux_loss import summed_aux_loss
from undula.ops.metrics import IGNORED, mean_nats
from undula.training.objective import Means
from undula.training.records import RunProgress
from undula.training.task import Task
from undula.training.translation_config import TranslationTrainConfig
from undula.validation.translation import TranslationScore, evaluate_translation


@dataclass(frozen=True, kw_only=True)
class TranslationProgress(RunProgress):
    """Where the run of a translator is.

    Args:
        ce: nats per token since the last log, without smoothing; NaN before the first.
        tokens_per_second: of sentences and translations together, since the last log; NaN before the first.
        validation: the last score of the held-out sentences.
    """

    ce: float = math.nan
    tokens_per_second: float = math.nan
    validation: TranslationScore = TranslationScore()


class TranslationTask(Task):
    """Write the translation of a sentence, token by token; scored by nats per token and BLEU of held-out sentences.

    Args:
        config: the run.
        parallel: its pairs.
    """

    progress = TranslationProgress

    def __init__(self, config: TranslationTrainConfig, parallel: Parallel) -> None:
        self.config, self.parallel = config, parallel
        self.data, self.tokenizer, self.held_out = parallel.fingerprint, parallel.tokenizer, parallel.held_out
        self.parts = Means()
        # Ends and begins count, padding does not.
        self.tokens_per_pair = sum(len(a) + len(b) for a, b in parallel.train) / len(parallel.train)

    def items(self, length: int) -> TrainPairs:
        """Return pairs in batches of nearly one length."""
        return TrainPairs(self.parallel.train, self.config.batch_size, seed=self.config.seed, length=length)

    def batch(self, items: list[Pair]) -> dict[str, Tensor]:
        """Return pairs as one batch, padded on the right."""
        return collated(items)

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean loss of a batch's tokens, with smoothed labels."""
        labels = batch["labels"]
        logits = model(**{name: rows for name, rows in batch.items() if name != "labels"}).logits
        share = self.config.label_smoothing
        loss = F.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, label_smoothing=share
        )
        ce = mean_nats(logits.detach(), labels) if share else loss
        self.parts.add({"ce": ce})
        added = summed_aux_loss(model)
        return loss if added is None else loss + added

    def score(self, model: nn.Module, held_out: HeldOut) -> TranslationScore:
        """Return loss and BLEU of held-out sentences."""
        options = search_options(self.config)
        return evaluate_translation(model, held_out, self.parallel.tokenizer, self.config.eval_batch_size, options)

    def line(self, logs: dict[str, Any], items_per_second: float) -> dict[str, Any]:
        """Return nats per token without smoothing, and tokens per second."""
        return {"ce": logs["ce"], "tokens_per_second": items_per_second * self.tokens_per_pair}


def search_options(config: TranslationTrainConfig) -> dict[str, Any]:
    """Return how a run searches, as `generate` takes it."""
    search = config.search
    options: dict[str, Any] = {"num_beams": search.num_beams, "max_length": search.max_length}
    if search.num_beams > 1:
        options |= {"length_penalty": search.length_penalty, "coverage_penalty": search.coverage_penalty}
    return options
