"""The score of a model on batches of (inputs, targets), and of each of their sequences."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor, nn

from undula.ops.metrics import IGNORED, Metrics, summed_nats
from undula.validation.evaluate import scoring

DRAWS = 2000
"""Resamplings of a bootstrap."""


@dataclass(frozen=True, kw_only=True)
class BatchScore:
    """What a model scores on batches.

    Args:
        metrics: sums over all targets that count.
        num_correct: how many of them had the highest score.
        num_batches: batches that were read.
        sequence_nats: sum of -ln p of each sequence.
        sequence_tokens: targets that count of each sequence.
    """

    metrics: Metrics = Metrics()
    num_correct: int = 0
    num_batches: int = 0
    sequence_nats: np.ndarray = field(default_factory=lambda: np.zeros(0))
    sequence_tokens: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def accuracy(self) -> float:
        """Share of the targets that had the highest score; NaN of nothing."""
        return self.num_correct / self.metrics.num_tokens if self.metrics.num_tokens else float("nan")

    def to_dict(self) -> dict[str, float]:
        """Return loss, perplexity and accuracy by name."""
        return {"loss": self.metrics.loss, "perplexity": self.metrics.perplexity, "accuracy": self.accuracy}

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return a bootstrap interval of the loss, sequences drawn with replacement; NaN for fewer than two."""
        return bootstrap(self.sequence_nats, self.sequence_tokens, level)


def bootstrap(nats: np.ndarray, tokens: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of sum(nats) / sum(tokens) over sequences, from 2000 draws with replacement, always the same.

    NaN for fewer than two sequences: one says nothing about the spread.
    """
    if len(nats) < 2:
        return float("nan"), float("nan")
    draw = np.random.default_rng(0)
    means = np.empty(DRAWS)
    for i in range(DRAWS):
        chosen = draw.integers(0, len(nats), len(nats))
        means[i] = nats[chosen].sum() / tokens[chosen].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class Scorer(nn.Module):
    """Any model as one that maps `input_ids` to an object with `logits` (B, T, V).

    Args:
        model: called with token ids alone; gives scores, an object or dictionary with "logits", or a tuple that begins
            with them.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        """Return the scores.

        Raises:
            ValueError: when the model returns none.
        """
        return SimpleNamespace(logits=logits_of(self.model(input_ids)))


def logits_of(output: Any) -> Tensor:
    """Return the scores (B, T, V) in what a model returned.

    Raises:
        ValueError: when there are none.
    """
    found = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", output)
    found = found[0] if isinstance(found, tuple) and found else found
    if not isinstance(found, Tensor) or found.ndim != 3:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(output).__name__
        raise ValueError(f"the model returned {what}; wanted scores (B, T, V), or .logits that holds them")
    return found


def pair_of(batch: Any) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of a batch: (x, y), or a dictionary with `input_ids` and `shift_labels`.

    Raises:
        ValueError: for anything else, or shapes that differ.
    """
    if isinstance(batch, dict) and {"input_ids", "shift_labels"} <= set(batch):
        pair = (batch["input_ids"], batch["shift_labels"])
    elif isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch):
        pair = (batch[0], batch[1])
    else:
        raise ValueError(f"a batch is a {type(batch).__name__}; wanted a pair of tensors (inputs, targets)")
    if pair[0].shape != pair[1].shape or pair[0].ndim != 2:
        raise ValueError(
            f"inputs {tuple(pair[0].shape)} and targets {tuple(pair[1].shape)}; wanted both (B, T), each target the "
            "token after its input"
        )
    return pair


def evaluate_batches(model: nn.Module, batches: Iterable[Any]) -> BatchScore:
    """Return the score over all batches: each target counts once and weighs the same; the model is left as it was.

    Raises:
        ValueError: for a batch that is no pair, or a model without scores.
    """
    total, correct, nats, tokens, read = Metrics(), 0, [], [], 0
    with scoring(model) as device:
        for batch in batches:
            inputs, labels = (part.to(device) for part in pair_of(batch))
            logits = logits_of(model(inputs))
            rows = [summed_nats(*row) for row in zip(logits, labels, strict=True)]
            row_nats, row_tokens = (np.array([float(part) for part in column]) for column in zip(*rows, strict=True))
            total += Metrics(float(row_nats.sum()), int(row_tokens.sum()))
            correct += num_correct(logits, labels)
            nats.append(row_nats)
            tokens.append(row_tokens)
            read += 1
    if not read:
        return BatchScore()
    return BatchScore(
        metrics=total,
        num_correct=correct,
        num_batches=read,
        sequence_nats=np.concatenate(nats),
        sequence_tokens=np.concatenate(tokens),
    )


def num_correct(logits: Tensor, labels: Tensor) -> int:
    """Return how many targets that count had the highest score."""
    return int(((logits.argmax(-1) == labels) & (labels != IGNORED)).sum())
