"""Scores of predictions against what is true; the score of nothing is NaN."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def confusion(truth: Int[Tensor, " N"], told: Int[Tensor, " N"], num_classes: int) -> Int[Tensor, "C C"]:
    """Return how often each class (row) was told to be each class (column)."""
    cells = torch.bincount(truth.long() * num_classes + told.long(), minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes)


def accuracy(counts: Int[Tensor, "C C"]) -> float:
    """Return the share of what was told rightly, from a table as `confusion` gives it."""
    total = int(counts.sum())
    return int(counts.trace()) / total if total else math.nan


def macro_f1(counts: Int[Tensor, "C C"]) -> float:
    """Return the mean of F1 = 2 TP / (2 TP + FP + FN) over the classes that are true or told anywhere.

    Source: van Rijsbergen, "Information Retrieval" (1979); averaged as scikit-learn does.
    """
    either = counts.sum(0) + counts.sum(1)
    there = either > 0
    if not bool(there.any()):
        return math.nan
    return float((2 * counts.diagonal()[there].double() / either[there].double()).mean())


def r_squared(truth: Float[Tensor, " N"], told: Float[Tensor, " N"]) -> float:
    """Return 1 - sum (truth - told)^2 / sum (truth - mean)^2; NaN where all that is true is equal."""
    if not truth.numel():
        return math.nan
    wide = truth.double()
    around = (wide - wide.mean()).square().sum()
    return float(1 - (wide - told.double()).square().sum() / around) if float(around) else math.nan
