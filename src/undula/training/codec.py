"""An audio codec as a task of the trainer."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from undula.data.audio import Recording, Sounds, TrainCrops
from undula.losses.spectral import spectral_distance, waveform_distance
from undula.models.audio_codec import AudioCodec
from undula.training.audio_config import AudioTrainConfig
from undula.training.objective import Means
from undula.training.records import RunProgress
from undula.training.task import Task
from undula.validation.sound import SoundScore, evaluate_codec


@dataclass(frozen=True, kw_only=True)
class CodecProgress(RunProgress):
    """Where the run of an audio codec is.

    Args:
        loss: mean since the last log; NaN before the first.
        waveform: minus the mean signal-to-noise ratio of the pieces since the last log, in bels; NaN before the first.
        validation: the last score of the held-out recordings.
    """

    loss: float = math.nan
    waveform: float = math.nan
    validation: SoundScore | None = None


class CodecTask(Task):
    """Give back random pieces of recordings; scored by signal-to-distortion ratios of whole held-out ones.

    Args:
        config: the run.
        sounds: its recordings.
    """

    progress = CodecProgress

    def __init__(self, config: AudioTrainConfig, sounds: Sounds) -> None:
        self.config, self.sounds = config, sounds
        self.data, self.held_out, self.parts = sounds.fingerprint, sounds.held_out, Means()

    def items(self, length: int) -> TrainCrops:
        """Return random pieces."""
        return TrainCrops(self.sounds.train, self.config.data.crop_length, seed=self.config.seed, length=length)

    def batch(self, items: list[Tensor]) -> dict[str, Tensor]:
        """Return pieces as one batch."""
        return {"audio": torch.stack(items)}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Return how far a batch of pieces is from its reconstruction."""
        loss, audio = self.config.loss, batch["audio"]
        made = model(audio)
        waveform, spectral = waveform_distance(made, audio), audio.new_zeros(())
        if loss.spectral:
            spectral = spectral_distance(made, audio, loss.n_fft)
        self.parts.add({"waveform": waveform, "spectral": spectral})
        return loss.waveform * waveform + loss.spectral * spectral

    def score(self, model: nn.Module, held_out: list[Recording]) -> SoundScore:
        """Return the score over whole recordings."""
        return evaluate_codec(next(part for part in model.modules() if isinstance(part, AudioCodec)), held_out)

    def line(self, logs: dict[str, Any], items_per_second: float) -> dict[str, Any]:
        """Return the loss's parts, and seconds of sound per second."""
        seconds = self.config.data.crop_length / self.config.model.sample_rate
        parts = {name: logs[name] for name in ("waveform", "spectral")}
        return {**parts, "sound_per_second": items_per_second * seconds}
