"""Records of measurements: one line of JSON each, added to a file and never changed."""

import json
import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undula.config import from_dict, to_dict

RESULTS = Path("benchmarks") / "results"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measurement, and all that is needed to read it later.

    Args:
        what: the kind of measurement, such as "train" or "compare".
        config: what was measured and how.
        figures: what came out, units in the names; null for what could not be measured.
        versions: of python, torch, transformers, undula and of peers.
        machine: processor, cores, threads, GPU, allocator.
        commit: of the source of undula; null where it does not come from a repository.
        dirty: whether that source differs from the commit.
        date: in UTC, ISO 8601.
    """

    what: str
    config: dict[str, Any]
    figures: dict[str, Any]
    versions: dict[str, Any]
    machine: dict[str, Any]
    commit: str | None
    dirty: bool
    date: str


def results_file(name: str, folder: Path | None = None) -> Path:
    """Return the file of records called `name`.

    Args:
        name: such as "train".
        folder: where it lies; by default benchmarks/results in the repository of the working directory, or in the
            working directory itself where that is in none.
    """
    return (repository(Path.cwd()) / RESULTS if folder is None else folder) / f"{name}.jsonl"


def repository(folder: Path) -> Path:
    """Return the top of the git repository that holds a folder; the folder itself where there is none."""
    top = git(folder, "rev-parse", "--show-toplevel")
    return folder if top is None else Path(top)


def git(folder: Path, *arguments: str) -> str | None:
    """Return what a git command prints; None where it fails or there is no git."""
    try:
        run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def append_records(path: Path, records: list[Record]) -> None:
    """Add records to a file, which is made when it is not there; NaN and infinity become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(json_safe(to_dict(record)), allow_nan=False) + "\n" for record in records]
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(lines))


def read_records(path: Path) -> list[Record]:
    """Return the records of a file, oldest first; none where there is no file.

    Raises:
        ValueError: for a line that is no record; says which.
    """
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values = json.loads(line)
            records.append(from_dict(Record, values if isinstance(values, dict) else {"what": values}))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is no record ({error}); delete the line") from error
    return records


def json_safe(value: Any) -> Any:
    """Return nested values as JSON knows them: what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): json_safe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
