"""Ways of measuring, as data: what a protocol fixes in every recipe that is measured by it."""

from collections.abc import Mapping
from typing import Any

from undula.names import unknown_name
from undula.recipes.changes import changed
from undula.training.config import TrainConfig

_CHARACTERS: dict[str, Any] = {
    "data.tokenizer": "char",
    "data.split": "tail",
    "data.val_fraction": 0.1,
    "data.rest": "dropped",
    "steps": 2000,
    "accumulation": 1,
    "eval_every": 500,
    "save_every": 2000,
    "optim.learning_rate": 1e-3,
    "optim.min_learning_rate": 1e-4,
    "optim.warmup_steps": 100,
    "optim.betas": (0.9, 0.99),
    "optim.weight_decay": 0.1,
    "optim.grad_clip": 1.0,
    "model.backbone.dropout": 0.0,
    "model.codec.dropout": 0.0,
}

PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "p0": {**_CHARACTERS, "data.block_size": 64, "batch_size": 12},
    "p0_256": {**_CHARACTERS, "data.block_size": 256, "batch_size": 6},
}
"""`p0`: 2000 steps on the characters of one file, in windows of 64, its last tenth held out, scored in whole windows.
`p0_256`: the same in windows of 256, where a long memory can pay."""


def with_protocol(config: TrainConfig, name: str, source: str | None = None) -> TrainConfig:
    """Return a recipe's configuration as a protocol measures it.

    Args:
        config: the recipe's own.
        name: of the protocol.
        source: the text, as `DataConfig.source`; None keeps the recipe's.

    Raises:
        ValueError: for an unknown protocol.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    text = {} if source is None else {"data.source": source}
    return changed(config, {**PROTOCOLS[name], **text})
