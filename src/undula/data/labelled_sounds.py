"""Recordings and their labels: from folders and tables."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from undula.data.audio import SUFFIXES, read_audio
from undula.data.example import Example, Found
from undula.data.labelled_config import LabelledDataConfig
from undula.data.labelled_files import labelled_files, labelled_rows, target_of
from undula.data.tables import is_table
from undula.ops.resample import resample


def load_sounds(config: LabelledDataConfig) -> Found:
    """Return the recordings of a source with their labels, all at one sample rate, mixed down to one channel.

    Raises:
        FileNotFoundError: when there is no such file.
        ImportError: when a file is not plain PCM, and the extra `audio` is not installed.
        ValueError: for a recording that cannot be read or has no sample, sample rates that differ where none is asked
            for, or a class without recordings.
    """
    reader = _Reader(config)
    if is_table(config.source):
        found = labelled_rows(config, lambda v, label, at: (reader.value(v, at), target_of(label, config, at)))
    else:
        files = labelled_files(config, SUFFIXES)
        found = Found([Example(name, reader.file(path, str(path)), label) for name, path, label in files])
    return found._replace(sample_rate=reader.sample_rate)


def read_recording(path: Path, config: LabelledDataConfig) -> Float[Tensor, " L"]:
    """Return the beginning of one recording, at the sample rate that is asked for."""
    return _Reader(config).file(path, str(path))


class _Reader:
    """Reads recordings and sees that all have one sample rate.

    Args:
        config: says which, or nothing.
    """

    def __init__(self, config: LabelledDataConfig) -> None:
        self.config, self.first = config, ""
        self.sample_rate = config.sample_rate or 0

    def file(self, path: Path, where: str) -> Float[Tensor, " L"]:
        """Return the beginning of a recording, as much as is wanted."""
        channels, rate = read_audio(path)
        return self._one(channels.mean(0), rate, where)

    def value(self, value: Any, where: str) -> Float[Tensor, " L"]:
        """Return a recording as tables hold them: a path, bytes of a file, or samples and their rate."""
        if isinstance(value, str):
            return self.file(Path(value).expanduser(), where)
        if isinstance(value, dict) and value.get("bytes"):
            with tempfile.NamedTemporaryFile(suffix=".audio") as file:
                file.write(value["bytes"])
                file.flush()
                return self.file(Path(file.name), where)
        if isinstance(value, dict) and value.get("array") is not None and value.get("sampling_rate"):
            samples = torch.as_tensor(value["array"], dtype=torch.float32)
            return self._one(samples.reshape(-1), int(value["sampling_rate"]), where)
        if isinstance(value, dict) and value.get("path"):
            return self.file(Path(value["path"]), where)
        raise ValueError(f"{where}: got a {type(value).__name__}; wanted a recording's path, bytes or samples")

    def _one(self, samples: Tensor, rate: int, where: str) -> Float[Tensor, " L"]:
        if self.config.sample_rate is None:
            self.sample_rate, self.first = self.sample_rate or rate, self.first or where
            if rate != self.sample_rate:
                raise ValueError(
                    f"{self.first} has {self.sample_rate} samples per second, {where} has {rate}; say "
                    f"data.sample_rate={self.sample_rate} to bring all to one rate"
                )
        if not samples.numel():
            raise ValueError(f"{where} has no sample; leave it out")
        return resample(samples, rate, self.sample_rate)[: round(self.config.max_seconds * self.sample_rate)]
