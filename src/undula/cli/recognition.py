"""What the verbs do where a run is that of an encoder which tells classes, tags or numbers."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from undula.cli.progress import clock
from undula.cli.screen import table, write
from undula.optional import late_import

if TYPE_CHECKING:
    from undula.training.recognition import RecognitionProgress
    from undula.validation.recognition import Score

MOST_CLASSES = 12
"""Classes up to which the table of who was taken for whom is printed."""


def outcome(result: Any) -> list[tuple[str, str]]:
    """Return what is printed after training."""
    return _rows(result.validation)


def following(folder: Path) -> str:
    """Return a command to try on a run."""
    return f"undula evaluate {folder}"


def evaluate(folder: Path, asked: Any, screen: Console) -> None:
    """Print the score of a run's model on what it holds out, or on other data; of few classes, all confusions."""
    runs = late_import("undula.experiments.recognition")
    scored = runs.evaluate_recognition_run(folder, asked.data)
    screen.print(table((str(folder), asked.data or "held out"), _rows(scored)))
    counts: tuple[tuple[int, ...], ...] = getattr(scored, "counts", ())
    if 0 < len(counts) <= MOST_CLASSES:
        labels = runs.load_recogniser(folder).model.config.id2label
        names = [labels[i] for i in range(len(counts))]
        rows = [(name, *row) for name, row in zip(names, counts, strict=True)]
        screen.print("", table(("true, told:", *names), rows))


def generate(folder: Path, asked: Any) -> None:
    """Print what a run's model tells of a text, or of the file of an image or a recording."""
    runs = late_import("undula.experiments.recognition")
    told = runs.recognise(runs.load_recogniser(folder), asked.prompt)
    if isinstance(told, dict):
        write("\n".join(f"{chance:7.2%}  {name}" for name, chance in told.items()))
    elif isinstance(told, list):
        write(" ".join(f"{word}/{tag}" for word, tag in told))
    else:
        write(f"{told:.6g}")


def show(screen: Console, folder: Path) -> None:
    """Print the scores of a run."""
    lines = late_import("undula.training.records").read_lines(folder / "metrics.jsonl")
    scores = [line for line in lines if any(key.startswith("validation_") for key in line)]
    keys = [key for key in (scores[-1] if scores else {}) if key.startswith("validation_")]
    rows = [(line["step"], *(_number(line[key]) for key in keys)) for line in scores[-10:]]
    head = ("step", *(key.removeprefix("validation_") for key in keys))
    screen.print(table(head, rows, f"held out, last {len(rows)} of {len(scores)} scores"), "")


def news(progress: "RecognitionProgress") -> str:
    """Return loss, speed and time left in one line; before the first, what runs it."""
    if math.isnan(progress.loss):
        return f"on {progress.where}"
    return f"loss {progress.loss:.3f}  {progress.items_per_second:,.0f} inputs/s  {clock(progress.seconds_left)} left"


def score(progress: "RecognitionProgress") -> tuple[float, str]:
    """Return the score of the held-out inputs (NaN before the first), and how to say it."""
    return progress.validation.headline, f"held out: {progress.validation}"


def _rows(scored: "Score") -> list[tuple[str, str]]:
    return [("held out", str(scored)), ("scored", f"{scored.count:,}")]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
