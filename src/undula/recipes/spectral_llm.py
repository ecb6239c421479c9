"""SpectralLLM as documented, as a run: what its configuration says of training, and the recipe's values of it."""

from collections.abc import Mapping
from typing import Any

from undula.models.config import ModelConfig
from undula.models.spectral_llm_config import Config
from undula.recipes.changes import changed
from undula.training.config import TrainConfig

SMALL = Config(
    vocab_size=ModelConfig().vocab_size,
    embed_dim=128,
    hidden_dim=336,
    num_heads=4,
    num_layers=4,
    harmonic_bases=32,
    learning_rate=1e-3,
    weight_decay=0.1,
    warmup_steps=100,
    batch_size=16,
    seq_length=128,
)
"""The recipe's: of the size of the models that it is compared with, and trained as they are."""


KEYS = {
    "learning_rate": "optim.learning_rate",
    "weight_decay": "optim.weight_decay",
    "warmup_steps": "optim.warmup_steps",
    "batch_size": "batch_size",
    "seq_length": "data.block_size",
}
"""Where a run keeps what `Config` says of training."""

EVOLUTION = {
    "evolution_every": "evolution.every",
    "evolution_population": "evolution.population",
    "evolution_generations": "evolution.generations",
}
"""Where a run keeps what `Config` says of evolution, if that is enabled."""

ANALYSED = 8
"""Held-out windows whose spectral gap is measured, if that is asked for."""


def described(run: TrainConfig, config: Config) -> TrainConfig:
    """Return a run that trains a SpectralLLM as its configuration says: the model, and how it is trained.

    Windows lie side by side (`stride`) and are checked (`validate_sequences`) in every run; both concern
    `EnhancedTextDataset`, where `SpectralTrainer.loader` reads them. A run takes Apple's GPU where there is one
    (`use_mps`). The number of tokens is the tokenizer's, and texts may be of any length.

    Args:
        run: gives what the configuration does not say: text, steps, betas, how often is scored.
        config: the model and its training.
    """
    model = changed(config.model(), {"context_length": None})
    beside = {"spectral_gap": ANALYSED} if config.spectral_gap_analysis else {}
    if config.enable_evolution:
        beside |= {path: getattr(config, name) for name, path in EVOLUTION.items()}
    return trained_as(changed(run, {"model": model, **beside}), {name: getattr(config, name) for name in KEYS})


def trained_as(run: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """Return a run with other values of training, by the names of `Config`.

    `learning_rate` is the peak; the least rate stays the same share of it, unless `min_lr_ratio` says which.

    Raises:
        ValueError: for values out of range.
    """
    optim = run.optim
    ratio = values.get("min_lr_ratio", optim.min_learning_rate / optim.learning_rate)
    if not 0 <= ratio <= 1:
        raise ValueError(f"min_lr_ratio={ratio}; wanted a share of the peak, 0 to 1")
    least = ratio * values.get("learning_rate", optim.learning_rate)
    changes = {KEYS[name]: value for name, value in values.items() if name in KEYS}
    return changed(run, {**changes, "optim.min_learning_rate": least})
