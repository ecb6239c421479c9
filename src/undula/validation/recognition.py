"""The score of what an encoder tells of held-out inputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from undula.data.labelled import Item, Labelled
from undula.data.labelled_batches import batched
from undula.ops.metrics import IGNORED, summed_nats
from undula.ops.scores import accuracy, confusion, macro_f1, r_squared


@dataclass(frozen=True)
class ClassScore:
    """How well classes are told; what is of nothing is NaN.

    Args:
        count: inputs, or tokens with a tag.
        loss: mean cross entropy, in nats.
        counts: how often each class (row) was told to be each class (column).
    """

    count: int = 0
    loss: float = math.nan
    counts: tuple[tuple[int, ...], ...] = ()

    @property
    def accuracy(self) -> float:
        """Share that was told rightly."""
        return accuracy(torch.tensor(self.counts)) if self.counts else math.nan

    @property
    def macro_f1(self) -> float:
        """Mean over classes of F1."""
        return macro_f1(torch.tensor(self.counts)) if self.counts else math.nan

    @property
    def headline(self) -> float:
        """What is compared first; higher is better."""
        return self.accuracy

    def __str__(self) -> str:
        return f"accuracy {self.accuracy:.2%}, macro F1 {self.macro_f1:.4f}, {self.loss:.4f} nats"

    def to_dict(self) -> dict[str, float]:
        """Return loss, accuracy and macro F1 by name."""
        return {"loss": self.loss, "accuracy": self.accuracy, "macro_f1": self.macro_f1}


@dataclass(frozen=True)
class NumberScore:
    """How well numbers are told; what is of nothing is NaN.

    Args:
        count: inputs.
        mse: mean squared error.
        r_squared: 1 - mse / variance of what is true.
    """

    count: int = 0
    mse: float = math.nan
    r_squared: float = math.nan

    @property
    def headline(self) -> float:
        """What is compared first; higher is better."""
        return self.r_squared

    def __str__(self) -> str:
        return f"R^2 {self.r_squared:.4f}, mean squared error {self.mse:.4g}"

    def to_dict(self) -> dict[str, float]:
        """Return mean squared error and R^2 by name."""
        return {"mse": self.mse, "r_squared": self.r_squared}


Score = ClassScore | NumberScore


def evaluate_recogniser(model: Any, items: Sequence[Item], data: Labelled, batch_size: int) -> Score:
    """Return the score; the model is left as it was, and no random number is used up.

    Args:
        model: one of our heads, or another model with such a `forward` and `logits`.
        items: what is scored.
        data: what they are part of.
        batch_size: inputs at once; decides speed and memory, not the score.
    """
    # Nearly equal lengths together: less padding.
    order = sorted(range(len(items)), key=lambda i: items[i].values.shape[-1])
    batches = [[items[i] for i in order[start : start + batch_size]] for start in range(0, len(order), batch_size)]
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            found = [_told(model, batched(batch, data)) for batch in batches]
    finally:
        for module, mode in modes.items():
            module.training = mode
    if data.config.target == "number":
        return _numbers(found)
    return _classes(found, len(data.labels))


def _told(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What is told, and what is true, of all that a batch asks."""
    on_device = {name: rows.to(model.device) for name, rows in batch.items()}
    labels = on_device.pop("labels")
    logits = model(**on_device).logits.float()
    asked = labels != IGNORED if not labels.is_floating_point() else torch.ones_like(labels, dtype=torch.bool)
    return logits[asked].cpu(), labels[asked].cpu()


def _classes(found: Sequence[tuple[Tensor, Tensor]], num_classes: int) -> ClassScore:
    if not found:
        return ClassScore()
    sums = [summed_nats(logits, labels) for logits, labels in found]
    nats, count = (sum(float(each[i]) for each in sums) for i in (0, 1))
    counts = sum(confusion(labels, logits.argmax(-1), num_classes) for logits, labels in found)
    table = tuple(tuple(row) for row in counts.tolist())  # pyright: ignore[reportAttributeAccessIssue]
    return ClassScore(int(count), nats / count if count else math.nan, table)


def _numbers(found: Sequence[tuple[Tensor, Tensor]]) -> NumberScore:
    if not found:
        return NumberScore()
    told = torch.cat([logits[:, 0] for logits, _ in found]).double()
    truth = torch.cat([labels for _, labels in found]).double()
    return NumberScore(len(truth), float((truth - told).square().mean()), r_squared(truth, told))
