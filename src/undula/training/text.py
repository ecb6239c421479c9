"""A causal language model as a task of the trainer."""

import math
from typing import Any

from torch import Tensor, nn

from undula.data.build import Prepared
from undula.data.stream import EvalWindows, TrainWindows
from undula.data.synthetic import TaskWindows, joined
from undula.ops.metrics import Metrics
from undula.training.annealing import Annealing
from undula.training.config import TrainConfig
from undula.training.curriculum import Curriculum
from undula.training.evolution import Evolution
from undula.training.objective import PARTS, Objective
from undula.training.records import Progress
from undula.training.settling import Settling
from undula.training.spectral_gap import SpectralGap
from undula.training.task import Task
from undula.validation.evaluate import evaluate


class TextTask(Task):
    """Predict the next token of windows of text; scored in nats per token over the whole held-out text.

    Args:
        model: maps `input_ids` to an object with `logits`.
        config: the run.
        prepared: its text.
    """

    progress = Progress

    def __init__(self, model: nn.Module, config: TrainConfig, prepared: Prepared) -> None:
        self.config, self.prepared = config, prepared
        self.data, self.tokenizer, self.held_out = prepared.fingerprint, prepared.tokenizer, prepared.eval_windows()
        self.bytes_per_token = prepared.train.byte_count() / len(prepared.train)
        self.objective = Objective(config.loss, model, config.piece)
        self.parts = self.objective.parts
        annealing = [Annealing(config.annealing_steps)] if config.annealing_steps else []
        curriculum = [Curriculum(config.curriculum, config.steps)] if config.curriculum.share else []
        settling = [Settling(round(config.settling * config.steps))] if config.settling else []
        self.callbacks = [*annealing, *curriculum, *settling, *self._evolution(), *self._gap()]

    def items(self, length: int) -> TrainWindows | TaskWindows:
        """Return random windows."""
        reserved = self.config.evolution.reserved
        return self.prepared.train_windows(seed=self.config.seed, length=length, reserved=reserved)

    def batch(self, items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return windows as one batch."""
        return joined(iter(items))

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Return the loss of a batch of full windows."""
        labels = batch["shift_labels"]
        outputs = model(input_ids=batch["input_ids"], **self.objective.asks(labels))
        return self.objective(outputs, labels)

    def score(self, model: nn.Module, held_out: EvalWindows | TaskWindows) -> Metrics:
        """Return the score over all windows."""
        return evaluate(model, held_out, self.config.eval_batch_size, self.config.piece)

    def line(self, logs: dict[str, Any], items_per_second: float) -> dict[str, Any]:
        """Return bits per byte of the text alone, tokens per second, and the loss's parts where it has several."""
        nats = logs.get("ce", logs["loss"])
        line = {
            "bits_per_byte": nats / math.log(2) / self.bytes_per_token,
            "tokens_per_second": items_per_second * self.config.data.block_size,
        }
        return line | {name: value for name, value in logs.items() if name in PARTS}

    def _gap(self) -> list[SpectralGap]:
        number = min(self.config.spectral_gap, len(self.held_out))
        if not number:
            return []
        ids = joined(self.held_out[i] for i in range(number))["input_ids"]
        return [SpectralGap(ids, self.config.eval_every, self.config.steps)]

    def _evolution(self) -> list[Evolution]:
        plan = self.config.evolution
        if not plan.every:
            return []
        windows, size = self.prepared.reserved_windows(plan.reserved), self.config.eval_batch_size
        # Every second window each: side by side, both halves would be different texts.
        halves = [
            [
                joined(windows[i] for i in range(first + 2 * start, 2 * min(start + size, plan.windows), 2))
                for start in range(0, plan.windows, size)
            ]
            for first in (0, 1)
        ]
        return [Evolution(plan, *halves, seed=self.config.seed)]
