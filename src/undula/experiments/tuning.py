"""The same effort for everybody: before models are compared, each tries the same number of learning rates."""

import math
from dataclasses import replace
from pathlib import Path

from undula.experiments.folder import CONFIG
from undula.experiments.run import train_run
from undula.training.config import TrainConfig
from undula.training.records import Listener
from undula.training.trainer import NonFiniteError

TRIES = (1 / 3, 1.0, 3.0)
"""Factors on a model's own learning rate."""
SHARE = 4
"""A trial has this part of the steps, with a whole schedule of its own."""


def tuned(
    config: TrainConfig, out: Path, *, progress: Listener | None = None, cache_dir: Path | None = None
) -> tuple[TrainConfig, dict[float, float]]:
    """Return a run with the best of three learning rates, and the loss that each reached, in nats per token.

    Trials hold out other documents than the run itself, so that its held-out text chooses nothing. Trials that are
    finished are not repeated. A rate with which the loss is no longer finite counts as infinitely bad.

    Args:
        config: the run.
        out: folder of the trials.
        progress: told about the progress of each.
        cache_dir: where prepared corpora are kept.

    Raises:
        ValueError: as `train_run` does, or when no rate gave a finite loss.
    """
    data = replace(config.data, split="documents", split_seed=config.data.split_seed + 1)
    steps = max(1, config.steps // SHARE)
    losses: dict[float, float] = {}
    for factor in TRIES:
        rated = _at_rate(config, factor)
        annealing = math.ceil(config.annealing_steps / SHARE)
        trial = replace(rated, data=data, steps=steps, eval_every=steps, save_every=steps, annealing_steps=annealing)
        rate = trial.optim.learning_rate
        folder = out / config.name / f"rate-{rate:.3g}"
        try:
            found = train_run(trial, folder, resume=(folder / CONFIG).is_file(), progress=progress, cache_dir=cache_dir)
            losses[rate] = found.validation.loss
        except NonFiniteError:
            losses[rate] = math.inf
    best = min(losses, key=lambda rate: losses[rate])
    if not math.isfinite(losses[best]):
        rates = ", ".join(f"{rate:.3g}" for rate in losses)
        raise ValueError(f"{config.name} has no finite loss with learning rates {rates}; lower optim.learning_rate")
    return _at_rate(config, best / config.optim.learning_rate), losses


def _at_rate(config: TrainConfig, factor: float) -> TrainConfig:
    optim = config.optim
    least = optim.min_learning_rate * factor
    return replace(config, optim=replace(optim, learning_rate=optim.learning_rate * factor, min_learning_rate=least))
