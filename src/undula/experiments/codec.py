"""The run of an audio codec: train it into a folder, resume it, load the codec, score it; laid out as every run."""

import dataclasses
from pathlib import Path

import torch

from undula.bench.codec import bench_codec
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.data.audio import load_recordings, prepare_sounds
from undula.experiments.folder import (
    RunResult,
    check_data,
    newest,
    read_run,
    resolved,
    train_into,
    training_seconds,
)
from undula.hf.audio import UndulaAudioCodec, UndulaAudioConfig
from undula.models.audio_codec import AudioCodec
from undula.training.audio_config import AudioTrainConfig
from undula.training.codec import CodecTask
from undula.training.quiet import no_progress_bars
from undula.training.records import Listener
from undula.training.state import kept_rng
from undula.validation.sound import SoundScore, evaluate_codec


def train_codec(
    config: AudioTrainConfig, out: Path, *, resume: bool = False, progress: Listener | None = None
) -> RunResult[AudioTrainConfig]:
    """Train an audio codec into a folder; the global random generators are left as they were.

    Args:
        config: the whole run.
        out: the run's folder; made if needed.
        resume: go on where the newest whole checkpoint ends, bit for bit; without one, from the start.
        progress: told about the progress.

    Raises:
        ValueError: when `out` holds a run already (without resume), was made from another configuration or other sounds
            (with resume), or has no whole checkpoint left; when the loss is no longer finite.
        FileNotFoundError: when there is no run to resume, or no recording.
        OSError: when the disk is full.
    """
    with kept_rng():
        sounds = prepare_sounds(config.data, config.model.sample_rate)
        data = dataclasses.replace(config.data, source=resolved(config.data.source))
        config = dataclasses.replace(config, data=data)
        torch.manual_seed(config.seed)
        model = UndulaAudioCodec(UndulaAudioConfig(model=to_dict(config.model)))
        return train_into(out, config, model, CodecTask(config, sounds), resume=resume, progress=progress)


def load_codec_run(folder: Path) -> AudioCodec:
    """Return the codec of a run's newest whole checkpoint, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: when the folder is no run, or has no checkpoint yet.
        ValueError: when it is not the run of a codec, or every checkpoint is damaged.
    """
    read_run(folder, AudioTrainConfig)
    with no_progress_bars():
        return UndulaAudioCodec.from_pretrained(newest(folder).path).codec


def evaluate_codec_run(folder: Path, data: str | None = None) -> SoundScore:
    """Return the score of a run's codec.

    Args:
        folder: the run's folder.
        data: a recording or a folder of them, scored whole; by default the run's own held-out recordings.

    Raises:
        FileNotFoundError: when the folder is no run, or the recordings do not exist.
        ValueError: when the run's recordings are no longer what they were, or one cannot be read.
    """
    config, codec = read_run(folder, AudioTrainConfig), load_codec_run(folder)
    if data is not None:
        return evaluate_codec(codec, load_recordings(data, config.model.sample_rate))
    sounds = prepare_sounds(config.data, config.model.sample_rate)
    check_data(newest(folder), sounds.fingerprint)
    return evaluate_codec(codec, sounds.held_out)


def bench_codec_run(folder: Path, setting: BenchSetting) -> list[Record]:
    """Return the record of a run's newest checkpoint, on the recordings that it holds out; see `bench_codec`.

    Raises:
        FileNotFoundError: when the folder is no run, or its recordings are gone.
        ValueError: when the run's recordings are no longer what they were, or for a device that is not there.
    """
    config, checkpoint = read_run(folder, AudioTrainConfig), newest(folder)
    sounds = prepare_sounds(config.data, config.model.sample_rate)
    check_data(checkpoint, sounds.fingerprint)
    what = {
        "case": config.name,
        "model": config.name,
        "source": Path(config.data.source).name,
        "sounds": sounds.fingerprint,
        "seed": config.seed,
        "steps": checkpoint.step,
        "of_steps": config.steps,
        "training_seconds": training_seconds(folder, checkpoint.step),
    }
    return bench_codec(load_codec_run(folder), sounds.held_out, what, setting)
