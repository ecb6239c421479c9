"""The spectral gap of a model's features, measured whenever the model is scored."""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from undula.models.backbone import collector
from undula.models.language_model import LanguageModel
from undula.shapes import TokenIds
from undula.validation.evaluate import scoring
from undula.validation.spectral_gap import SpectralGapAnalyzer


def features_of(model: nn.Module, input_ids: TokenIds) -> Float[Tensor, "B T D"]:
    """Return the residual stream after the last block, in evaluation mode; the model and random numbers are left alone.

    Raises:
        ValueError: when no language model of ours is in the model.
    """
    found = next((part for part in model.modules() if isinstance(part, LanguageModel)), None)
    if found is None:
        raise ValueError(f"{type(model).__name__} holds no language model of undula, whose features could be analysed")
    layers: list[Tensor] = []
    with scoring(model) as device:
        found(input_ids.to(device), on_layer=collector(layers))
    return layers[-1]


class SpectralGap(TrainerCallback):
    """Measures the gap of fixed windows before each score and after the last step, and tells the log of that step.

    Args:
        input_ids: the windows.
        every: steps between two scores.
        steps: of the run.
    """

    def __init__(self, input_ids: TokenIds, every: int, steps: int) -> None:
        self.input_ids, self.every, self.steps = input_ids, every, steps
        self.analyzer, self.found = SpectralGapAnalyzer(), dict[str, float]()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse a model without features before the first step."""
        features_of(cast(nn.Module, kwargs["model"]), self.input_ids[:1, :1])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure, when it is time."""
        step = state.global_step
        if step % self.every and step < self.steps:
            return
        with torch.no_grad():
            found = self.analyzer.analyze(features_of(cast(nn.Module, kwargs["model"]), self.input_ids))
        names = {"spectral_gap": "spectral_gap", "groups": "spectral_groups", "parts": "spectral_parts"}
        self.found = {told: float(found[name]) for name, told in names.items()}

    def take(self) -> dict[str, float]:
        """Return gap, groups and parts, means over the windows, once."""
        found, self.found = self.found, {}
        return found
