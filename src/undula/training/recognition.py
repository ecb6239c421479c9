"""An encoder that tells classes, tags or numbers as a task of the trainer."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undula.data.augment import with_gaps
from undula.data.labelled import Item, Labelled
from undula.data.labelled_batches import Drawn, TrainItems, batched
from undula.models.senses_config import AudioEncoderConfig
from undula.nn.aux_loss import summed_aux_loss
from undula.ops.mel import frame_sizes, log_mel
from undula.ops.metrics import IGNORED
from undula.training.objective import Means
from undula.training.recognition_config import RecognitionTrainConfig
from undula.training.records import RunProgress
from undula.training.task import Processor, Task
from undula.validation.recognition import ClassScore, Score, evaluate_recogniser


@dataclass(frozen=True, kw_only=True)
class RecognitionProgress(RunProgress):
    """Where the run of a recogniser is.

    Args:
        loss: mean since the last log, in nats or in variances of what is told; NaN before the first.
        items_per_second: inputs read since the last log; NaN before the first.
        validation: the last score of the held-out inputs.
    """

    loss: float = math.nan
    items_per_second: float = math.nan
    validation: Score = ClassScore()


class RecognitionTask(Task):
    """Tell the label of an input; scored by accuracy, or squared error, of all held-out ones.

    Args:
        config: the run.
        labelled: its data.
        processor: saved beside the model; None: there is none.
    """

    progress = RecognitionProgress

    def __init__(self, config: RecognitionTrainConfig, labelled: Labelled, processor: Processor | None = None) -> None:
        self.config, self.labelled, self.processor = config, labelled, processor
        self.data, self.tokenizer, self.held_out = labelled.fingerprint, labelled.tokenizer, labelled.test
        self.parts = Means()

    def items(self, length: int) -> TrainItems:
        """Return inputs, changed a little where that is asked for."""
        return TrainItems(self.labelled, self.config.augment, seed=self.config.seed, length=length)

    def batch(self, items: list[Drawn]) -> dict[str, Tensor]:
        """Return inputs as one batch; recordings as spectrograms where these have gaps."""
        batch = batched([drawn.item for drawn in items], self.labelled)
        model, augment = self.config.model, self.config.augment
        if not isinstance(model, AudioEncoderConfig) or not (augment.mask_mels or augment.mask_frames):
            return batch
        mel = log_mel(batch.pop("input_values"), model.sample_rate, model.num_mels, model.causal)
        lengths = -(-batch.pop("attention_mask").sum(1) // frame_sizes(model.sample_rate)[1])
        mel = with_gaps(mel, lengths, torch.stack([drawn.shares for drawn in items]), augment)
        real = torch.arange(mel.shape[2]) < lengths[:, None]
        return {"input_features": mel, "attention_mask": real.long(), **batch}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean cross entropy of a batch, or its squared error over the variance of what is told."""
        labels = batch["labels"]
        logits = model(**{name: rows for name, rows in batch.items() if name != "labels"}).logits.float()
        if self.config.data.target == "number":
            loss = F.mse_loss(logits[:, 0], labels.float()) / self.labelled.target_scale[1] ** 2
        else:
            share = self.config.label_smoothing
            scores = logits.flatten(0, -2)
            loss = F.cross_entropy(scores, labels.flatten(), ignore_index=IGNORED, label_smoothing=share)
        added = summed_aux_loss(model)
        return loss if added is None else loss + added

    def score(self, model: nn.Module, held_out: list[Item]) -> Score:
        """Return the score of held-out inputs."""
        return evaluate_recogniser(model, held_out, self.labelled, self.config.eval_batch_size)

    def line(self, logs: dict[str, Any], items_per_second: float) -> dict[str, Any]:
        """Return inputs per second."""
        return {"items_per_second": items_per_second}
