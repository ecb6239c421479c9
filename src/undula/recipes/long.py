"""Recipes for long contexts: a text read in one stream, and tasks of memory with the models that are tried on them."""

from collections.abc import Mapping
from typing import Any

from undula.data.config import DataConfig
from undula.models.config import BackboneConfig, ModelConfig
from undula.names import unknown_name
from undula.optim.config import OptimConfig
from undula.recipes.changes import changed
from undula.training.config import TrainConfig

_SELECTIVE = {"short_conv": 4, "qk_norm": True}

RECALL_MODELS: Mapping[str, Mapping[str, Any]] = {
    "fft_conv, memory": {"mixers": ("short_conv", "fft_conv"), "mixer_options": {"fft_conv": {"memory": 1e5}}},
    "fft_conv": {"mixers": ("short_conv", "fft_conv")},
    "interference_linear": {"mixers": ("short_conv", "interference_linear")},
    "pure_wave_linear": {
        "mixers": ("short_conv", "pure_wave_linear"),
        "mixer_options": {"pure_wave_linear": {"kernel": "exp", "num_waves": 32}},
    },
    "attention, short": {"mixer_options": {"attention": _SELECTIVE}},
    "attention, short, no positions": {"mixer_options": {"attention": {**_SELECTIVE, "rotary": False}}},
    "attention": {"mixer_options": {"attention": {"qk_norm": True}}},
    "hybrid": {"mixers": ("fft_conv", "attention"), "mixer_options": {"attention": {"rotary": False, "qk_norm": True}}},
}
"""Small models that tasks of memory are given to, as values of their backbone, by the name in the records. Where one
layer is to remember, the one before it sees a few steps alone: it finds what is worth keeping. With a long memory there
too, the noise that it gathers grows with the episode, and a later layer meets what it never met in training."""


def spectral_long() -> TrainConfig:
    """Spectral layers on windows of 65,536 tokens, read in pieces; scored on 200,000 tokens of one stream.

    Filters whose gains each chunk takes from the chunks before it, and filters with gates of each step, in turns.
    """
    mixers = ("hierarchical_fft", "spectral_gate")
    backbone = BackboneConfig(d_model=64, num_layers=2, num_heads=4, mixers=mixers, d_ff=176)
    return TrainConfig(
        name="spectral_long",
        model=ModelConfig(family="spectral", backbone=backbone),
        # Nearly half of the embedded text is held out, so that it has 200,000 tokens.
        data=DataConfig(block_size=65536, eval_block_size=200_000, val_fraction=0.45),
        optim=OptimConfig(learning_rate=3e-3, min_learning_rate=3e-4, warmup_steps=4),
        steps=48,
        batch_size=1,
        log_every=2,
        eval_every=48,
        save_every=12,
        eval_batch_size=1,
        piece=4096,
    )


def recall(task: str = "needle", model: str = "fft_conv, memory") -> TrainConfig:
    """Return a small model on a task of memory, in episodes that grow to 2048 steps.

    Args:
        task: `needle` or `copy`, with a number after a colon where it is another one than usual.
        model: in `RECALL_MODELS`.

    Raises:
        ValueError: for an unknown model.
    """
    if model not in RECALL_MODELS:
        raise unknown_name("model", model, RECALL_MODELS)
    config = TrainConfig(
        name=task.partition(":")[0],
        model=ModelConfig(backbone=BackboneConfig(d_model=64, num_layers=2, num_heads=4, d_ff=128)),
        data=DataConfig(source=task, block_size=2048),
        optim=OptimConfig(
            learning_rate=3e-3, min_learning_rate=3e-4, warmup_steps=50, weight_decay=0.01, betas=(0.9, 0.98)
        ),
        steps=1600,
        batch_size=2,
        log_every=50,
        eval_every=1600,
        save_every=1600,
        eval_batch_size=8,
    )
    return changed(config, {"model.backbone": RECALL_MODELS[model]})


def needle() -> TrainConfig:
    """A needle in a haystack: long filters with a memory recall a value from episodes of up to 2048 steps."""
    return recall("needle")


def copy() -> TrainConfig:
    """The same filters repeat a string of letters after a long delay."""
    return recall("copy")
