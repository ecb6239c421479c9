"""What the verbs have in common in printing."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 120
"""Characters of a line where nobody says how wide it may be: in a file or a pipe."""


def console() -> Console:
    """Return the console of this call's standard output, which tests and pipes may have replaced."""
    screen = Console(highlight=False, soft_wrap=False)
    return screen if screen.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """Return rows under a head, ready to print; numbers stand on the right."""
    rows = [list(row) for row in rows]
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    for index, name in enumerate(head):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(shown(cell) for cell in row))
    return made


def write(text: str) -> None:
    """Print a piece of text at once, without a line's end."""
    sys.stdout.write(text)
    sys.stdout.flush()


def shown(value: object) -> str:
    """Return a cell as text: floats with four digits, whole numbers in groups of three, markup left alone."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
