"""How many parameters a model has, and models of equal size."""

from dataclasses import replace

import torch

from undula.models.config import ModelConfig
from undula.models.language_model import build_language_model

STEP = 8
"""Feed-forward widths are multiples of this: others are slower."""


def parameter_count(config: ModelConfig) -> int:
    """Return the number of trained parameters of a language model, which is not filled with values for it.

    Raises:
        ValueError: as building the model does.
    """
    with torch.device("meta"):
        model = build_language_model(config)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def of_size(config: ModelConfig, parameters: int) -> ModelConfig:
    """Return the model with the feed-forward width that brings it nearest to a number of parameters.

    Args:
        config: the model; all but its `backbone.d_ff` stays.
        parameters: the number that is wanted.

    Raises:
        ValueError: when the model has more than that without any feed-forward.
    """
    one, two = (parameter_count(_with_d_ff(config, width)) for width in (STEP, 2 * STEP))
    steps = 1 + round((parameters - one) / (two - one))
    if steps < 1:
        raise ValueError(
            f"the {config.family} model with {', '.join(config.backbone.mixers)} has {one:,} parameters with the "
            f"smallest feed-forward, more than the {parameters:,} that are wanted; make it narrower"
        )
    return _with_d_ff(config, STEP * steps)


def _with_d_ff(config: ModelConfig, d_ff: int) -> ModelConfig:
    return replace(config, backbone=replace(config.backbone, d_ff=d_ff))
