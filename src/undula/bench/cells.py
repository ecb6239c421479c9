"""Cells and lines of tables in Markdown (no torch here)."""

import statistics
from collections.abc import Iterable, Sequence

from undula.bench.records import Record

Cells = Sequence[object]


def markdown(head: Sequence[str], rows: Iterable[Cells]) -> str:
    """Return a table in Markdown, the first column on the left."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def made(*records: Record) -> str:
    """Where, with what and when; of records from several places and times, all of them."""
    first = records[0]
    devices = _each(_device(record) for record in records)
    commits = _each(f"{r.commit[:9]}{' and changes' if r.dirty else ''}" for r in records if r.commit)
    commit = f", commit {commits}" if commits else ""
    memory = "".join(f", {name}={value}" for name, value in first.machine.get("allocator", {}).items())
    dates = _each(record.date[:10] for record in records)
    return f"{devices}, {first.config['setting']['dtype']}{memory}, torch {first.versions['torch']}{commit}, {dates}"


def _device(record: Record) -> str:
    machine = record.machine
    return machine["gpu"] or f"{machine['cpu']}, {machine['threads']} thread{'s'[: machine['threads'] != 1]}"


def _each(names: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(names))


def count(value: int) -> str:
    """Return a number of parameters: millions from a tenth of one on."""
    return f"{value / 1e6:.2f} M" if value >= 1e5 else f"{value:,}"


def number(value: float | None, spec: str) -> str:
    """Return a number in a format; nothing for None."""
    return "" if value is None else format(value, spec)


def with_spread(value: float | None, spread: float | None) -> str:
    """Return a mean and its spread over seeds."""
    return number(value, ".3f") + plus_minus(spread)


def plus_minus(spread: float | None) -> str:
    """Return a spread over seeds; nothing for None."""
    return "" if spread is None else f" ± {spread:.3f}"


def megabytes(value: int | None) -> str:
    """Return bytes as megabytes; nothing for None."""
    return "" if value is None else f"{value / 1e6:,.0f}"


def over_seeds(values: Sequence[float], factor: float, form: str, unit: str) -> str:
    """Return the mean of values, and their standard deviation where there are several.

    Args:
        values: one for each seed.
        factor: what they are multiplied by.
        form: the format of a number.
        unit: put behind the mean.
    """
    text = f"{factor * statistics.fmean(values):{form}}{unit}"
    return text + (f" ± {factor * statistics.stdev(values):{form}}" if len(values) > 1 else "")
