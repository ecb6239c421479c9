"""The live display of a training run; plain lines where nobody watches."""

import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Display

if TYPE_CHECKING:
    from undula.training.records import Progress

PLAIN_LINES = 20
"""How many lines a run writes where there is no terminal, scores aside."""


def clock(seconds: float) -> str:
    """Return a time as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def how_to_resume(folder: Path, step: int) -> str:
    """Return what to do after Ctrl-C."""
    latest = folder / "LATEST"
    kept = latest.read_text(encoding="utf-8").strip() if latest.is_file() else "none yet, so it begins again"
    return f"stopped at step {step}; last checkpoint: {kept}. Go on with: undula train --resume {folder}"


def news(progress: "Progress") -> str:
    """Return loss, bits per byte, tokens per second and time left in one line; before the first, what runs it."""
    if math.isnan(progress.loss):
        return f"on {progress.where}"
    return (
        f"loss {progress.loss:.3f}  {progress.bits_per_byte:.3f} bits/byte  "
        f"{progress.tokens_per_second:,.0f} tokens/s  {clock(progress.seconds_left)} left"
    )


def text_score(progress: "Progress") -> tuple[float, str]:
    """Return the score of the held-out text (NaN before the first), and how to say it."""
    score = progress.validation.bits_per_byte
    return score, f"held-out text {score:.4f} bits per byte"


class LiveProgress:
    """A listener of a run that shows step, loss and the like, and time left.

    Each score of what is held out has a line of its own. Use it as a context, so that the display is closed in any
    case.

    Args:
        screen: where to draw.
        label: name of the run.
        news: says in one line what a run tells.
        score: the last score that a run tells (NaN before the first), and how to say it.
    """

    def __init__(
        self,
        screen: Console,
        label: str,
        *,
        news: Callable[[Any], str] = news,
        score: Callable[[Any], tuple[float, str]] = text_score,
    ) -> None:
        self.screen, self.label = screen, label
        self.say, self.read_score = news, score
        self.display = Display(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[news]}"),
            console=screen,
            disable=not screen.is_terminal,
        )
        self.task = self.display.add_task(label, total=1, news="preparing")
        self.score = math.nan
        self.step = self.lines = 0

    def __enter__(self) -> Self:
        self.display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.display.stop()

    def __call__(self, progress: Any) -> None:
        """Show where the run is."""
        self.step = progress.step
        self.display.update(self.task, completed=progress.step, total=progress.steps, news=self.say(progress))
        score, said = self.read_score(progress)
        if not math.isnan(score) and score != self.score:
            self.score = score
            self.screen.print(f"{self.label}: step {progress.step:,}, {said}")
        elif not self.screen.is_terminal and progress.step * PLAIN_LINES >= self.lines * progress.steps:
            self.lines = 1 + progress.step * PLAIN_LINES // progress.steps
            self.screen.print(f"{self.label}: step {progress.step:,}/{progress.steps:,}  {self.say(progress)}")
