"""From low frequencies to all of them: a schedule, and what sets it in training."""

import math
from typing import Any, cast, get_args

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from undula.models.language_model import LanguageModel
from undula.names import unknown_name
from undula.optional import late_import
from undula.training.config import CurriculumConfig, CurriculumMode

SLOW_DOWN = 0.05
"""Share of its progress that a stuck curriculum goes back, each time."""


class FrequencyCurriculumScheduler:
    """Says which share of the frequencies a model hears at each step.

    In warm-up the limit stays at `start_freq_limit`. Then, with p from 0 to 1 over the steps that are left: linear
    start + p (end - start); exponential start (end / start)^p; cosine start + (1 - cos(pi p)) / 2 (end - start).
    Adaptive: when the validation loss has not improved for `patience` steps, the schedule is delayed by 5 % of the
    steps it has made, and again after each further `patience` steps. A delay stays: it moves all later limits.

    Args:
        total_steps: step at which the end is reached, without delay.
        start_freq_limit, end_freq_limit: shares, 0 < start < end <= 1.
        warmup_steps: steps before the limit starts to rise.
        curriculum_mode: "linear", "exponential" or "cosine".
        adaptive: whether a validation loss that does not improve delays the schedule.
        patience: in steps, not in calls.

    Raises:
        ValueError: for a value out of range or an unknown mode.

    Source: Wave Transformer enhancements, Frequency Curriculum Learning. The document starts warm-up at a limit of 0,
    at which a model hears nothing; here it starts at `start_freq_limit`.
    """

    def __init__(
        self,
        total_steps: int,
        start_freq_limit: float = 0.1,
        end_freq_limit: float = 1.0,
        warmup_steps: int = 0,
        curriculum_mode: str = "cosine",
        adaptive: bool = True,
        patience: int = 500,
    ) -> None:
        if not 0 < start_freq_limit < end_freq_limit <= 1:
            raise ValueError(
                f"start_freq_limit={start_freq_limit}, end_freq_limit={end_freq_limit}; wanted 0 < start < end <= 1"
            )
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps={warmup_steps} of total_steps={total_steps}; wanted 0 up to total_steps - 1"
            )
        if curriculum_mode not in get_args(CurriculumMode):
            raise unknown_name("curriculum mode", curriculum_mode, get_args(CurriculumMode))
        if patience < 1:
            raise ValueError(f"patience={patience}; wanted at least 1 step")
        self.total_steps, self.warmup_steps = total_steps, warmup_steps
        self.start_freq_limit, self.end_freq_limit = start_freq_limit, end_freq_limit
        self.curriculum_mode, self.adaptive, self.patience = curriculum_mode, adaptive, patience
        self.delay = 0.0
        self.current_step = 0
        self.best_val_loss = math.inf
        self.improved_at: int | None = None
        self.slowed_at = 0

    def get_freq_limit(self, step: int | None = None) -> float:
        """Return the limit at a step (None: the last one told to `step`), delays so far included."""
        step = self.current_step if step is None else step
        p = self._progress(step)
        start, end = self.start_freq_limit, self.end_freq_limit
        if p >= 1:
            return end
        match self.curriculum_mode:
            case "linear":
                return start + p * (end - start)
            case "exponential":
                return start * (end / start) ** p
            case _:
                return start + (1 - math.cos(math.pi * p)) / 2 * (end - start)

    def step(self, step: int, val_loss: float | None = None) -> dict[str, Any]:
        """Take note of a step and its validation loss, and return where the curriculum is.

        Returns:
            step, freq_limit, curriculum_progress, steps_since_improvement; with a loss also val_loss, best_val_loss.
        """
        self.current_step = step
        info: dict[str, Any] = {}
        if val_loss is not None:
            self._judge(step, val_loss)
            info = {"val_loss": val_loss, "best_val_loss": self.best_val_loss}
        return {
            "step": step,
            "freq_limit": self.get_freq_limit(step),
            "curriculum_progress": self._progress(step),
            "steps_since_improvement": 0 if self.improved_at is None else step - self.improved_at,
            **info,
        }

    def plot_schedule(self, save_path: str | None = None) -> Any:
        """Return a figure of the limit over all steps, delays so far included; saved where a path is given."""
        pyplot = late_import("matplotlib.pyplot")
        figure, ax = pyplot.subplots(figsize=(8, 4))
        steps = [round(i * self.total_steps / 500) for i in range(501)]
        ax.plot(steps, [self.get_freq_limit(step) for step in steps])
        ax.axhline(self.start_freq_limit, linestyle="--", color="gray", label="start")
        ax.axhline(self.end_freq_limit, linestyle="--", color="black", label="end")
        if self.warmup_steps:
            ax.axvline(self.warmup_steps, linestyle=":", color="gray", label="end of warm-up")
        ax.set(xlabel="step", ylabel="share of the frequencies", ylim=(0, 1.05), title="Frequency curriculum")
        ax.legend()
        if save_path is not None:
            figure.savefig(save_path, dpi=150)
            pyplot.close(figure)
        return figure

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides later limits, the schedule's own numbers included."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            ValueError: when it lacks an entry or has one too many.
        """
        if set(state) != set(vars(self)):
            wrong = sorted(set(state) ^ set(vars(self)))
            raise ValueError(f"the state's entries {wrong} are missing or unknown; take one of state_dict()")
        vars(self).update(state)

    def _progress(self, step: int) -> float:
        made = step - self.delay - self.warmup_steps
        return min(1.0, max(0.0, made / (self.total_steps - self.warmup_steps)))

    def _judge(self, step: int, val_loss: float) -> None:
        if val_loss < self.best_val_loss:
            self.best_val_loss, self.improved_at, self.slowed_at = val_loss, step, step
        elif self.improved_at is None:
            self.improved_at = self.slowed_at = step
        elif self.adaptive and step - self.slowed_at >= self.patience:
            self.slowed_at = step
            self.delay += SLOW_DOWN * max(0.0, step - self.delay - self.warmup_steps)


class Curriculum(TrainerCallback):
    """Sets the limit before each step; the model keeps it, so scores and checkpoints have the same limit.

    What the held-out losses have done to the schedule is found again from the log when a run is resumed.

    Args:
        config: the schedule.
        steps: of the run.
    """

    def __init__(self, config: CurriculumConfig, steps: int) -> None:
        self.schedule = FrequencyCurriculumScheduler(
            max(1, round(config.share * steps)),
            config.start,
            warmup_steps=config.warmup_steps,
            curriculum_mode=config.mode,
            adaptive=config.adaptive,
            patience=config.patience,
        )
        self.models: list[LanguageModel] = []
        self.limit: float | None = None

    def take(self) -> dict[str, float]:
        """Return the limit of the last step, once."""
        limit, self.limit = self.limit, None
        return {} if limit is None else {"freq_limit": limit}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Find the model, and catch up with the scores so far."""
        parts = cast(nn.Module, kwargs["model"]).modules()
        self.models = [part for part in parts if isinstance(part, LanguageModel)]
        for line in state.log_history:
            if "eval_loss" in line:
                self.schedule.step(int(line["step"]), line["eval_loss"])

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the limit for the step that follows."""
        self.limit = self.schedule.get_freq_limit(state.global_step)
        for model in self.models:
            model.set_freq_limit(self.limit)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Let a score that does not improve delay the schedule."""
        self.schedule.step(state.global_step, kwargs["metrics"]["eval_loss"])
