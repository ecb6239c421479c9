"""What measurements have in common on the command line: how and where to, and records that are kept as they come."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from undula.bench.records import Record, append_records, results_file
from undula.bench.setting import BenchSetting
from undula.cli.screen import console
from undula.config import from_dict


def add_setting(reader: ArgumentParser) -> None:
    """Add the arguments that say how to measure."""
    usually = BenchSetting()
    reader.add_argument("--repeats", type=int, default=usually.repeats, help="rounds that count; medians are taken")
    reader.add_argument("--warmup", type=int, default=usually.warmup, help="rounds before those")
    reader.add_argument("--device", type=str, default=usually.device, help="cpu or cuda")
    reader.add_argument("--dtype", type=str, default=usually.dtype, help="float32 or bfloat16")
    add_threads(reader)


def add_threads(reader: ArgumentParser) -> None:
    """Add the number of threads, where nothing else of how to measure is free."""
    reader.add_argument("--threads", type=int, default=BenchSetting().threads, help="threads of an operation")


def add_results(reader: ArgumentParser) -> None:
    """Add where records go."""
    reader.add_argument(
        "--results", type=str, help="folder of the records (default: benchmarks/results of this repository)"
    )


def results_folder(asked: Any) -> Path | None:
    """Return where records go; None: to the usual place."""
    return Path(asked.results) if asked.results else None


def chosen_setting(asked: Any) -> BenchSetting:
    """Return how to measure."""
    names = [field.name for field in dataclasses.fields(BenchSetting)]
    return from_dict(BenchSetting, {name: getattr(asked, name) for name in names})


def measured(kind: str, asked: Any, measure: Callable[[], Iterable[Record]], doing: str = "measuring") -> list[Record]:
    """Measure, record each result when it is there, and return the records."""
    screen, path = console(), results_file(kind, results_folder(asked))
    records = []
    with screen.status(doing):
        for record in measure():
            append_records(path, [record])
            records.append(record)
    screen.print(f"{len(records)} records added to {path}", soft_wrap=True)
    return records
