"""Callbacks of the trainer: when to log, score and save; the metrics file; news for whoever watches."""

import math
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from undula.training.config import RunConfig
from undula.training.records import METRICS, Listener, append_line
from undula.training.task import NEWS, Task


class Timetable(TrainerCallback):
    """Says at each step whether to log, to score and to save.

    Before a checkpoint there is always a log: the mean loss since the last one is not part of a checkpoint, so there
    has to be none. Before a score, too, so that its time falls between two windows of speed.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Set what is due after this step."""
        step, config = state.global_step, self.config
        last = step >= config.steps
        control.should_save = last or step % config.save_every == 0
        control.should_evaluate = last or step % config.eval_every == 0
        due = step == 1 or step % config.log_every == 0
        control.should_log = due or control.should_save or control.should_evaluate


class Recorder(TrainerCallback):
    """Writes metrics.jsonl and tells the listener, on the first process alone.

    Args:
        folder: the run's folder.
        config: the run.
        task: says what stands in a line, and what the listener gets.
        items_per_step: items that one update is computed from, on all processes.
        where: what runs it, such as "cpu, float32".
        listener: told about the progress.
    """

    def __init__(
        self, folder: Path, config: RunConfig, task: Task, *, items_per_step: int, where: str, listener: Listener | None
    ) -> None:
        self.path = folder / METRICS
        self.task, self.items_per_step, self.listener = task, items_per_step, listener
        self.news: dict[str, Any] = {"steps": config.steps, "where": where}
        self.first_step = self.logged_step = 0
        self.started = self.window = math.nan

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clocks."""
        self.first_step = self.logged_step = state.global_step
        self.started, self.window = time.perf_counter(), math.nan
        self._tell(state)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock of a window at its first step: what a score or a checkpoint takes is not counted."""
        if math.isnan(self.window):
            self.window = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a line about training or about what is held out; other logs of the trainer are none of ours."""
        logs = logs or {}
        if "loss" in logs:
            self._log_training(state, logs)
        elif scores := {k.replace("eval_", "validation_"): v for k, v in logs.items() if k.startswith("eval_")}:
            self._write(state, scores)
        else:
            return
        self._tell(state)

    def record_validation(self, score: Any) -> None:
        """Take note of a score of what is held out."""
        self.news["validation"] = score

    def _log_training(self, state: TrainerState, logs: dict[str, Any]) -> None:
        now, step = time.perf_counter(), state.global_step
        seconds = now - self.window
        items_per_second = (step - self.logged_step) * self.items_per_step / seconds
        line = {
            "loss": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs.get("grad_norm"),
            "seconds": seconds,
            **self.task.line(logs, items_per_second),
            **{name: value for name, value in logs.items() if name.startswith(NEWS)},
        }
        self._write(state, line)
        pace = (now - self.started) / (step - self.first_step)
        told = {f.name: line[f.name] for f in fields(self.task.progress) if f.name in line}
        self.news.update(told, seconds_left=pace * (self.news["steps"] - step))
        self.logged_step, self.window = step, math.nan

    def _write(self, state: TrainerState, line: dict[str, Any]) -> None:
        if state.is_world_process_zero:
            append_line(self.path, {"step": state.global_step, **line})

    def _tell(self, state: TrainerState) -> None:
        if self.listener is not None and state.is_world_process_zero:
            self.listener(self.task.progress(step=state.global_step, **self.news))
