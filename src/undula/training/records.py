"""metrics.jsonl: one line of JSON for each log and each score; and what is told to whoever watches a run."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undula.files import write_flushed
from undula.ops.metrics import Metrics

METRICS = "metrics.jsonl"

Line = dict[str, int | float | None]


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """Where a run is, whatever it trains; sent at its start, at each log and at each score.

    Args:
        step: updates of the parameters so far.
        steps: all that are to be.
        where: what runs it, such as "cpu, float32".
        seconds_left: until the last step, at this session's pace, scores and checkpoints included; NaN at first.
    """

    step: int
    steps: int
    where: str
    seconds_left: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Progress(RunProgress):
    """Where the run of a language model is.

    Args:
        loss: training loss since the last log, in nats per token; NaN before the first.
        bits_per_byte: the same, by the bytes of text that a token of the corpus stands for on average.
        learning_rate: of the last step; NaN before the first.
        tokens_per_second: since the last log, time for scores and checkpoints left out; NaN before the first.
        validation: the last score of the held-out text; NaN before the first.
    """

    loss: float = math.nan
    bits_per_byte: float = math.nan
    learning_rate: float = math.nan
    tokens_per_second: float = math.nan
    validation: Metrics = Metrics()


Listener = Callable[[Any], None]
"""Told about the progress of a run: of a language model a `Progress`, of others their own kind of `RunProgress`."""


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add a line; numbers that JSON does not know (NaN, infinity) become null."""
    plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain, allow_nan=False) + "\n")
    except OSError as error:
        raise OSError(f"{path} could not be written: {error.strerror}; make room there, then resume") from error


def read_lines(path: Path) -> list[Line]:
    """Return the lines of a run's metrics; a last line that a crash cut short is left out.

    Raises:
        ValueError: when another line is not JSON.
    """
    if not path.exists():
        return []
    *lines, last = path.read_text(encoding="utf-8").split("\n")
    found = []
    for number, text in enumerate(lines, 1):
        try:
            found.append(json.loads(text))
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is not JSON; delete the line") from error
    return found


def drop_lines_after(path: Path, step: int) -> None:
    """Forget what came after a step, so that a resumed run writes each line once."""
    kept = [line for line in read_lines(path) if int(line["step"] or 0) <= step]
    write_flushed(path, "".join(json.dumps(line) + "\n" for line in kept))
