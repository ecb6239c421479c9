"""Fading out the embedding table beside wave packets, as training goes on."""

from typing import Any, cast

from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def get_annealing_ratio(step: int, total_annealing_steps: int = 3000) -> float:
    """Return the share of the embedding table at a step: from 1 at step 0 straight down to 0, max(0, 1 - step / total).

    Raises:
        ValueError: when total_annealing_steps is not positive.

    Source: "Wave-Native GPT", reference document, section Annealing Schedule.
    """
    if total_annealing_steps < 1:
        raise ValueError(f"total_annealing_steps={total_annealing_steps}; wanted at least 1")
    return max(0.0, 1.0 - step / total_annealing_steps)


class Annealing(TrainerCallback):
    """Sets the share of the table before each step; the model keeps it, so scores and checkpoints have the same share.

    Args:
        steps: after which the packets are alone.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.shares: list[Tensor] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Find where the model keeps the share."""
        parts = cast(nn.Module, kwargs["model"]).modules()
        kept = (getattr(part, "standard_embed_ratio", None) for part in parts)
        self.shares = [share for share in kept if share is not None]

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the share for the step that follows."""
        for share in self.shares:
            share.fill_(get_annealing_ratio(state.global_step, self.steps))
