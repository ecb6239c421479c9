"""The live display of a training run; plain lines where nobody watches."""

import math
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Display

if TYPE_CHECKING:
    from undula.training.records import Progress

PLAIN_LINES = 20
"""How many lines a run writes where there is no terminal, scores aside."""


class LiveProgress:
    """A listener of `train_run` that shows step, loss, bits per byte, tokens per second, time left.

    Each score of the held-out text has a line of its own. Use it as a context, so that the display is closed in any
    case.

    Args:
        screen: where to draw.
        label: name of the run.
    """

    def __init__(self, screen: Console, label: str) -> None:
        self.screen, self.label = screen, label
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

    def __call__(self, progress: "Progress") -> None:
        """Show where the run is."""
        self.step = progress.step
        self.display.update(self.task, completed=progress.step, total=progress.steps, news=news(progress))
        score = progress.validation.bits_per_byte
        if not math.isnan(score) and score != self.score:
            self.score = score
            self.screen.print(f"{self.label}: step {progress.step:,}, held-out text {score:.4f} bits per byte")
        elif not self.screen.is_terminal and progress.step * PLAIN_LINES >= self.lines * progress.steps:
            self.lines = 1 + progress.step * PLAIN_LINES // progress.steps
            self.screen.print(f"{self.label}: step {progress.step:,}/{progress.steps:,}  {news(progress)}")


def news(progress: "Progress") -> str:
    """Return loss, bits per byte, tokens per second and time left in one line; before the first, what runs it."""
    if math.isnan(progress.loss):
        return f"on {progress.where}"
    return (
        f"loss {progress.loss:.3f}  {progress.bits_per_byte:.3f} bits/byte  "
        f"{progress.tokens_per_second:,.0f} tokens/s  {clock(progress.seconds_left)} left"
    )


def clock(seconds: float) -> str:
    """Return a time as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
