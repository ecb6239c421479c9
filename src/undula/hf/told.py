"""The losses of what encoders tell, as transformers defines them, without its way of changing the configuration."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from undula.names import unknown_name
from undula.ops.metrics import IGNORED

REGRESSION, SINGLE, MULTI = "regression", "single_label_classification", "multi_label_classification"


def problem_type(config: Any, labels: Tensor | None = None) -> str:
    """Return what kind of problem a head solves, as its configuration says or, where it does not, as labels show.

    Raises:
        ValueError: for an unknown kind.
    """
    if config.problem_type is not None:
        if config.problem_type not in (REGRESSION, SINGLE, MULTI):
            raise unknown_name("problem_type", str(config.problem_type), (REGRESSION, SINGLE, MULTI))
        return config.problem_type
    if config.num_labels == 1:
        return REGRESSION
    return MULTI if labels is not None and labels.dtype.is_floating_point else SINGLE


def outputs_of(config: Any) -> int:
    """Return how many scores a head has: one for each label."""
    return int(config.num_labels)


def scaled(scores: Float[Tensor, "*rest outputs"], config: Any) -> Float[Tensor, "*rest outputs"]:
    """Return the scores of regression in the units of its targets; of other problems as they are."""
    if problem_type(config) != REGRESSION:
        return scores
    return scores * config.target_std + config.target_mean


def told_loss(logits: Float[Tensor, "B outputs"], labels: Tensor, config: Any) -> Float[Tensor, ""]:
    """Return the loss of a batch: mean squared error, cross entropy in nats, or binary cross entropy of each label.

    Args:
        logits: what the head tells.
        labels: numbers (B) or (B, outputs); classes (B), -100 where none is asked; or 0 and 1 (B, outputs).
        config: says which of the three, see `problem_type`.

    Raises:
        ValueError: for labels of another shape.
    """
    labels = labels.to(logits.device)
    kind, wide = problem_type(config, labels), logits.to(torch.promote_types(logits.dtype, torch.float32))
    # Numbers may come as (B) or as (B, 1), whichever a collator makes of them: never as both, which would be broadcast.
    alone = kind == SINGLE or logits.shape[1] == 1
    labels = labels[:, 0] if alone and labels.shape == (len(logits), 1) else labels
    told = wide[:, 0] if alone and kind != SINGLE else wide
    wanted = tuple(wide.shape[:1] if alone else wide.shape)
    if tuple(labels.shape) != wanted:
        raise ValueError(f"labels have the shape {tuple(labels.shape)}; wanted {wanted} for problem_type={kind!r}")
    if kind == SINGLE:
        return F.cross_entropy(told, labels, ignore_index=IGNORED)
    if kind == MULTI:
        return F.binary_cross_entropy_with_logits(told, labels.to(told.dtype))
    return F.mse_loss(told, labels.to(told.dtype))
