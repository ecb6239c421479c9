"""Settling on some of the harmonics, early in training."""

from typing import Any, cast

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from undula.models.language_model import LanguageModel


class Settling(TrainerCallback):
    """Lets the model choose its harmonics before the step after the given number; a checkpoint keeps the choice.

    Args:
        after: steps before the choice, in which each position chooses for itself.
    """

    def __init__(self, after: int) -> None:
        self.after = after

        self.models: list[LanguageModel] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Find the model, and take note of a choice that a checkpoint brought."""
        parts = cast(nn.Module, kwargs["model"]).modules()
        self.models = [part for part in parts if isinstance(part, LanguageModel)]
        for model in self.models:
            model.after_loading()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Choose, when it is time."""
        if state.global_step == self.after:
            for model in self.models:
                model.settle()
