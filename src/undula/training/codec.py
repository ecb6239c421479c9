"""The training loop of an audio codec; optimizer, schedule, records and checkpoints are those of language models.

A loop of its own, for one process: `transformers.Trainer` is built around batches of tokens and model folders of its
own kind, and this one has no more to do than a step, a line and a checkpoint.
"""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from undula.data.audio import Sounds, TrainCrops
from undula.files import flush
from undula.losses.spectral import spectral_distance, waveform_distance
from undula.models.audio_codec import AudioCodec
from undula.models.audio_files import WEIGHTS, save_codec
from undula.optim.build import build_optimizer, build_schedule
from undula.training.audio_config import AudioTrainConfig
from undula.training.manifest import Checkpoint, prune, publish
from undula.training.records import METRICS, append_line
from undula.training.state import load_tree, rng_state, save_tree, set_rng_state
from undula.training.trainer import BUILDING, OPTIMIZER, SCHEDULE, NonFiniteError
from undula.validation.sound import SoundScore, evaluate_codec

RNG = "rng-0.safetensors"


@dataclass(frozen=True, kw_only=True)
class CodecProgress:
    """Where a run is; sent at its start, at each log and at each score.

    Args:
        step: updates of the parameters so far.
        steps: all that are to be.
        where: what runs it, such as "cpu, float32".
        loss: mean since the last log; NaN before the first.
        decibels: mean signal-to-noise ratio of the pieces since the last log; NaN before the first.
        seconds_left: until the last step, at this session's pace; NaN at first.
        validation: the last score of the held-out recordings.
    """

    step: int
    steps: int
    where: str
    loss: float = math.nan
    decibels: float = math.nan
    seconds_left: float = math.nan
    validation: SoundScore | None = None


CodecListener = Callable[[CodecProgress], None]


class CodecTrainer:
    """Trains an audio codec as an `AudioTrainConfig` says, into a run's folder.

    Args:
        codec: what is trained.
        config: the run.
        sounds: its recordings.
        folder: where metrics, checkpoints and LATEST are written.
        listener: told about the progress.
    """

    def __init__(
        self,
        codec: AudioCodec,
        config: AudioTrainConfig,
        sounds: Sounds,
        folder: Path,
        listener: CodecListener | None = None,
    ) -> None:
        accelerator = torch.accelerator.current_accelerator(check_available=True) if config.device == "auto" else None
        self.device = accelerator or torch.device("cpu")
        self.where = f"{self.device.type}, float32"
        self.codec = codec.to(self.device)
        self.config, self.sounds, self.folder, self.listener = config, sounds, folder, listener
        total = config.steps * config.batch_size
        self.crops = TrainCrops(sounds.train, config.data.crop_length, seed=config.seed, length=total)
        self.optimizer = build_optimizer(codec, config.optim)
        self.schedule = build_schedule(self.optimizer, config.optim, config.steps)
        self.validation: SoundScore | None = None
        self.sums: list[Tensor] = []
        self.step = 0

    def train(self, checkpoint: Checkpoint | None = None) -> SoundScore:
        """Train from a checkpoint, or from the start, to the last step; return the score after it.

        Raises:
            NonFiniteError: when the loss is NaN or infinite; the batch is saved below `debug`.
            OSError: when the disk is full.
        """
        if checkpoint is not None:
            self._load(checkpoint)
        first, started = self.step, time.perf_counter()
        self._tell()
        window = started
        while self.step < self.config.steps:
            norm = self._update()
            scored, saved = (self._due(every) for every in (self.config.eval_every, self.config.save_every))
            if scored or saved or self._due(self.config.log_every) or self.step == 1:
                now = time.perf_counter()
                left = (now - started) / (self.step - first) * (self.config.steps - self.step)
                self._log(norm, now - window, left)
                if scored:
                    self._score(left)
                if saved:
                    self._save()
                window = time.perf_counter()
        return self.validation or evaluate_codec(self.codec, self.sounds.held_out)

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _update(self) -> Tensor:
        """One step; returns the length of the gradient."""
        size, loss = self.config.batch_size, self.config.loss
        batch = torch.stack([self.crops[self.step * size + i] for i in range(size)]).to(self.device)
        self.codec.train()
        made = self.codec(batch)
        waveform, spectral = waveform_distance(made, batch), batch.new_zeros(())
        if loss.spectral:
            spectral = spectral_distance(made, batch, loss.n_fft)
        total = loss.waveform * waveform + loss.spectral * spectral
        if not torch.isfinite(total):
            raise self._non_finite(batch, f"the loss is {total.item()}")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.codec.parameters(), self.config.optim.grad_clip or math.inf)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        self.sums.append(torch.stack([total.detach(), waveform.detach(), spectral.detach()]))
        return norm

    def _log(self, norm: Tensor, seconds: float, left: float) -> None:
        loss, waveform, spectral = torch.stack(self.sums).mean(0).tolist()
        heard = len(self.sums) * self.config.batch_size * self.config.data.crop_length / self.config.model.sample_rate
        line = {"step": self.step, "loss": loss, "waveform": waveform, "spectral": spectral}
        rates = {"learning_rate": self.schedule.get_last_lr()[0], "grad_norm": float(norm)}
        append_line(self.folder / METRICS, {**line, **rates, "sound_per_second": heard / seconds})
        self.sums = []
        self._tell(loss=loss, decibels=-10 * waveform, seconds_left=left)

    def _score(self, left: float) -> None:
        self.validation = evaluate_codec(self.codec, self.sounds.held_out)
        scores = {f"validation_{name}": value for name, value in self.validation.to_dict().items()}
        append_line(self.folder / METRICS, {"step": self.step, **scores})
        self._tell(seconds_left=left)

    def _tell(self, loss: float = math.nan, decibels: float = math.nan, seconds_left: float = math.nan) -> None:
        if self.listener is not None:
            self.listener(
                CodecProgress(
                    step=self.step,
                    steps=self.config.steps,
                    where=self.where,
                    loss=loss,
                    decibels=decibels,
                    seconds_left=seconds_left,
                    validation=self.validation,
                )
            )

    def _save(self) -> None:
        checkpoints = self.folder / "checkpoints"
        built = checkpoints / BUILDING / f"step-{self.step}"
        try:
            save_codec(self.codec, built)
            save_tree(self.optimizer.state_dict(), built / OPTIMIZER)
            schedule = {k: v for k, v in self.schedule.state_dict().items() if k != "lr_lambdas"}
            save_tree({**schedule, "lr_lambdas": [None]}, built / SCHEDULE)
            save_tree(rng_state(self.device), built / RNG)
            flush(self.folder / METRICS)
            prune(publish(built, checkpoints, self.step, self.sounds.fingerprint), self.config.keep_checkpoints)
        except OSError as error:
            shutil.rmtree(checkpoints / BUILDING, ignore_errors=True)
            raise OSError(
                f"checkpoint of step {self.step} could not be written to {checkpoints}: {error.strerror or error}; "
                "those before it are untouched: make room there, then resume"
            ) from error

    def _load(self, checkpoint: Checkpoint) -> None:
        self.codec.load_state_dict(load_file(checkpoint.path / WEIGHTS))
        self.optimizer.load_state_dict(load_tree(checkpoint.path / OPTIMIZER))
        self.schedule.load_state_dict(load_tree(checkpoint.path / SCHEDULE))
        set_rng_state(load_tree(checkpoint.path / RNG), self.device)
        self.step = checkpoint.step

    def _non_finite(self, batch: Tensor, what: str) -> NonFiniteError:
        debug = self.folder / "debug" / f"step-{self.step}"
        debug.mkdir(parents=True, exist_ok=True)
        save_file({"audio": batch.contiguous().cpu()}, debug / "batch.safetensors")
        return NonFiniteError(
            f"{what} after {self.step} whole steps; stopped, the batch is in {debug}: lower optim.learning_rate or "
            "raise optim.warmup_steps"
        )
