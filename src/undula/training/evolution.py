"""Evolution of a model's wavelets in training: candidates score the same windows, and the incumbent stays in doubt."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from undula.nn.wavelet_basis import WaveletBasis
from undula.optim.basis import BasisFunction
from undula.optim.evolution import HRFEvoController, Outcome
from undula.training.config import EvolutionConfig
from undula.validation.batches import evaluate_batches

Batches = Sequence[Any]
"""Pairs (inputs, targets), or dictionaries with `input_ids` and `shift_labels`."""


class ModelBasis:
    """The rotation angles of all wavelet bases of a model, as one genome.

    Args:
        model: has a `WaveletBasis` whose wavelets are given by their angles.

    Raises:
        ValueError: when it has none, or several that differ.
    """

    def __init__(self, model: nn.Module) -> None:
        found = [part.angles for part in model.modules() if isinstance(part, WaveletBasis)]
        self.rows = [angles for angles in found if angles is not None]
        if not self.rows:
            raise ValueError(
                "the model has no wavelets that could evolve; wanted wavelet_attention or stochastic_wavelet with "
                "wavelets given by their angles, see `evolvable`"
            )
        if any(not torch.equal(angles, self.rows[0]) for angles in self.rows):
            raise ValueError(
                f"{len(self.rows)} bases with different angles; wanted all layers to have the same wavelets"
            )

    def read(self) -> BasisFunction:
        """Return the genome."""
        return BasisFunction("lattice", {"angles": self.rows[0].double().cpu().numpy()})

    def write(self, basis: BasisFunction) -> None:
        """Give all bases these angles, in place: what an optimizer or a compiled graph holds stays what it is."""
        for angles in self.rows:
            angles.copy_(torch.from_numpy(basis.angles))


def window_losses(model: nn.Module, batches: Batches) -> np.ndarray:
    """Return the nats per token of each window, in evaluation mode; the model and random numbers are left alone."""
    score = evaluate_batches(model, batches)
    return score.sequence_nats / score.sequence_tokens


def evolve_model(model: nn.Module, controller: HRFEvoController, choose: Batches, confirm: Batches) -> Outcome:
    """Evolve a model's angles, and leave it with the new ones if they are better beyond noise, else as it was.

    Only buffers change: parameters, the state of their optimizer, modes and random numbers stay.

    Args:
        model: see `ModelBasis`.
        controller: starts from the model's own basis.
        choose: batches that candidates are measured on.
        confirm: other batches, which the best one is compared with the incumbent on.

    Raises:
        ValueError: as `run_evolution` does.
    """
    bases = ModelBasis(model)
    incumbent = bases.rows[0].clone()

    def losses(batches: Batches, basis: BasisFunction) -> np.ndarray:
        bases.write(basis)
        return window_losses(model, batches)

    try:
        outcome = controller.run_evolution(lambda b: losses(choose, b), lambda b: losses(confirm, b))
    finally:
        for angles in bases.rows:
            angles.copy_(incumbent)
    if outcome.applied:
        bases.write(outcome.basis)
    return outcome


class Evolution(TrainerCallback):
    """Evolves the model's wavelets every so many steps, and tells the next log what came of it.

    Draws come from the run's seed and the step alone, so that a resumed run does the same. What is applied is a buffer,
    which checkpoints hold; the optimizer knows nothing of it, and its state stays true.

    Args:
        config: how often, and how many candidates.
        choose: batches that candidates are measured on.
        confirm: as many others.
        seed: of the run.
    """

    def __init__(self, config: EvolutionConfig, choose: Batches, confirm: Batches, seed: int) -> None:
        self.config, self.choose, self.confirm, self.seed = config, choose, confirm, seed
        self.found: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse a model without wavelets that could evolve, before the first step."""
        ModelBasis(cast(nn.Module, kwargs["model"]))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Evolve, when it is time."""
        step = state.global_step
        if step % self.config.every:
            return
        model = cast(nn.Module, kwargs["model"])
        size = {
            "evolution_population": self.config.population,
            "evolution_generations": self.config.generations,
        }
        controller = HRFEvoController(size, ModelBasis(model).read(), seed=(self.seed << 32) + step)
        outcome = evolve_model(model, controller, self.choose, self.confirm)
        self.found = {
            "evolution_step": float(step),
            "evolution_gain": outcome.gain,
            "evolution_error": outcome.error,
            "evolution_applied": float(outcome.applied),
        }

    def take(self) -> dict[str, float]:
        """Return step, gain, its standard error and whether it was applied, of the last evolution, once."""
        found, self.found = self.found, {}
        return found
