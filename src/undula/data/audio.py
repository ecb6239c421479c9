"""Recordings: read, mixed down, brought to one sample rate, split as wholes, and cut at random for training."""

import hashlib
import logging
import math
import struct
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from undula.data.config import AudioDataConfig
from undula.names import unknown_name
from undula.ops.resample import resample
from undula.optional import late_import

TONES = "tones"
"""The embedded source: chirps with harmonics and a little noise, made from a seed."""

NUM_TONES = 120

SUFFIXES = (".wav", ".flac", ".ogg")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording.

    Args:
        name: of its file, below the folder.
        samples: one channel, between -1 and 1.
    """

    name: str
    samples: Float[Tensor, " L"]

    @property
    def digest(self) -> bytes:
        """SHA-256 of the samples."""
        return hashlib.sha256(self.samples.numpy().tobytes()).digest()


@dataclass(frozen=True, eq=False)
class Sounds:
    """Recordings to train on, and those held out.

    Args:
        config: what they were prepared from.
        train: to train on.
        held_out: whole recordings, none of which is in `train` too, under any name.
        fingerprint: SHA-256 of both; equal fingerprints mean equal samples in equal order.
    """

    config: AudioDataConfig
    train: list[Recording]
    held_out: list[Recording]
    fingerprint: str


def prepare_sounds(config: AudioDataConfig, sample_rate: int) -> Sounds:
    """Return the recordings of a source, split; all are kept in memory, 4 bytes a sample.

    Held out are the recordings whose samples have the lowest hashes, `val_fraction` of all and at least one: the choice
    depends on the sounds and `split_seed` alone, not on names or order, and copies of a recording stay together.

    Raises:
        FileNotFoundError: when the source does not exist.
        ImportError: when a file is not plain PCM, and the extra `audio` is not installed.
        ValueError: when a file cannot be read, or fewer than two different recordings are there.
    """
    recordings = load_recordings(config.source, sample_rate)
    seed = struct.pack("<q", config.split_seed)
    rank = {r.name: hashlib.blake2b(seed + r.digest, digest_size=8).digest() for r in recordings}
    different = sorted(set(rank.values()))
    if len(different) < 2:
        raise ValueError(
            f"{config.source} holds {len(different)} different recording(s); wanted at least 2, one to train on and "
            "one to hold out"
        )
    held = set(different[: max(1, min(len(different) - 1, round(config.val_fraction * len(different))))])
    train, held_out = ([r for r in recordings if (rank[r.name] in held) is side] for side in (False, True))
    whole = hashlib.sha256(struct.pack("<qq", sample_rate, len(held)))
    for recording in [*train, *held_out]:
        whole.update(recording.digest)
    return Sounds(config, train, held_out, whole.hexdigest())


def load_recordings(source: str, sample_rate: int) -> list[Recording]:
    """Return the recordings of a source in the order of their names; those without a sample are left out.

    Args:
        source: `tones`, a file, or a folder with wav, flac or ogg files at any depth; hidden ones are left out.
        sample_rate: that all are brought to.

    Raises:
        FileNotFoundError: when there is no such source.
        ValueError: when the folder holds no recording, or one cannot be read.
    """
    if source == TONES:
        return list(synthetic_tones(sample_rate))
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"data source {source!r}: no such file or folder, and {unknown_name('source of sounds', source, [TONES])}"
        )
    files = sorted(p for p in path.rglob("*") if _is_recording(p.relative_to(path))) if path.is_dir() else [path]
    found = [
        Recording(str(p.relative_to(path)) if path.is_dir() else p.name, load_audio(p, sample_rate)) for p in files
    ]
    kept = [recording for recording in found if len(recording.samples)]
    if len(kept) < len(found):
        logger.warning("left out %d of %d recordings of %s without a sample", len(found) - len(kept), len(found), path)
    if not kept:
        raise ValueError(f"{path} holds no recording; give a folder with {', '.join(SUFFIXES)} files")
    return kept


def load_audio(path: Path, sample_rate: int) -> Float[Tensor, " L"]:
    """Return the samples of a recording between -1 and 1, at `sample_rate`; channels are mixed down to their mean.

    Raises:
        FileNotFoundError: when there is no such file.
        ImportError: when it is not plain PCM, and the extra `audio` is not installed.
        ValueError: when it is damaged, or holds values that are not finite.
    """
    samples, rate = read_audio(path)
    return resample(samples.mean(0), rate, sample_rate)


def read_audio(path: Path) -> tuple[Float[Tensor, "C L"], int]:
    """Return the channels of a recording between -1 and 1, and its sample rate.

    Wav files of 8, 16, 24 or 32 bits PCM are read by Python itself, everything else by soundfile.

    Raises:
        FileNotFoundError: when there is no such file.
        ImportError: when it is not plain PCM, and the extra `audio` is not installed.
        ValueError: when it is damaged, or holds values that are not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no recording {path}; give a {', '.join(SUFFIXES)} file")
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            samples = _pcm(file.readframes(file.getnframes()), width, channels)
    except (wave.Error, EOFError):
        samples, rate = _by_soundfile(path)
    if not torch.isfinite(samples).all():
        raise ValueError(f"{path} holds NaN or infinity; repair it or leave it out")
    if rate < 1:
        raise ValueError(f"{path} says {rate} samples per second; its header is damaged, repair it or leave it out")
    return samples, rate


class TrainCrops(Dataset[Tensor]):
    """Random pieces of recordings: item i depends on the seed and on i alone, not on worker or order.

    A recording is chosen with a probability in proportion to its samples, or to one piece if it is shorter, and a start
    within it evenly; what is missing at the end of a short one is silence.

    Args:
        recordings: to cut from.
        crop_length: samples of a piece.
        seed: another seed gives other pieces.
        length: number of items, e.g. steps times batch size.
    """

    def __init__(self, recordings: Sequence[Recording], crop_length: int, *, seed: int, length: int) -> None:
        self.recordings, self.crop_length, self.seed, self.length = recordings, crop_length, seed, length
        self.ends = np.cumsum([max(crop_length, len(r.samples)) for r in recordings])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Float[Tensor, " L"]:
        if not 0 <= index < self.length:
            raise IndexError(f"piece {index} of {self.length}")
        digest = hashlib.blake2b(struct.pack("<qq", self.seed, index), digest_size=16).digest()
        which, where = struct.unpack("<QQ", digest)
        chosen = int(np.searchsorted(self.ends, (which * int(self.ends[-1])) >> 64, side="right"))
        samples = self.recordings[chosen].samples
        start = (where * (max(0, len(samples) - self.crop_length) + 1)) >> 64
        piece = samples[start : start + self.crop_length]
        return torch.nn.functional.pad(piece, (0, self.crop_length - len(piece)))


def synthetic_tones(sample_rate: int, count: int = NUM_TONES, seed: int = 0) -> Iterator[Recording]:
    """Yield recordings of half a second to a second: a gliding tone with harmonics, fading in and out, and some noise.

    Args:
        sample_rate: samples per second.
        count: how many.
        seed: another seed gives other recordings.
    """
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        u = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
        t = torch.arange(int(sample_rate * (0.5 + 0.5 * u[0])), dtype=torch.float64) / sample_rate
        low, high = 80 * 4 ** u[1], 80 * 4 ** u[2]
        # Exponential chirp: the turns are the integral of low (high / low)^(t / end).
        rise = math.log(high / low) or 1e-9
        share = t / t[-1]
        turns = low * t[-1] / rise * torch.expm1(rise * share)
        sound = torch.zeros_like(t)
        for k in range(1, 7):
            sound += torch.sin(2 * math.pi * (k * turns + u[3])) * k ** -(0.5 + u[4]) * (k * max(low, high) < 3500)
        sound *= torch.sin(math.pi * share) ** (0.3 + u[5])
        sound += 0.01 * u[6] * torch.randn(len(t), generator=generator, dtype=torch.float64)
        yield Recording(f"tone-{number:04}", ((0.2 + 0.6 * u[7]) * sound / sound.abs().max()).float())


def _pcm(content: bytes, width: int, channels: int) -> Float[Tensor, "C L"]:
    """Integers of 1 (unsigned), 2, 3 or 4 bytes (signed), channels side by side, over half their range."""
    content = content[: len(content) - len(content) % (width * channels)]
    if width == 1:
        values = (np.frombuffer(content, np.uint8).astype(np.float64) - 128) / 128
    else:
        # Bytes go to the top of 4: the value over 2^31 is then the same for every width.
        padded = np.zeros((len(content) // width, 4), np.uint8)
        padded[:, 4 - width :] = np.frombuffer(content, np.uint8).reshape(-1, width)
        values = padded.view("<i4")[:, 0] / 2.0**31
    return torch.from_numpy(values.astype(np.float32).reshape(-1, channels).T.copy())


def _by_soundfile(path: Path) -> tuple[Float[Tensor, "C L"], int]:
    soundfile = late_import("soundfile")
    try:
        values, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be read as a recording: {error}; repair it or leave it out") from error
    return torch.from_numpy(np.ascontiguousarray(values.T)), int(rate)


def _is_recording(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)
