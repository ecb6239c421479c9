"""The folder of a run, whatever it trains: opened once, read again, and refused to another configuration."""

import json
import os
from pathlib import Path
from typing import Any

from undula.files import write_flushed

CONFIG = "config.json"


def open_new(out: Path, values: dict[str, Any]) -> None:
    """Make a run's folder and write its configuration; the first process does, for all.

    Raises:
        ValueError: when it holds a run already.
    """
    if not is_first_process():
        return
    if (out / CONFIG).exists():
        raise ValueError(f"{out} holds a run already; resume it, or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_flushed(out / CONFIG, json.dumps(values, indent=1) + "\n")


def read_values(folder: Path) -> dict[str, Any]:
    """Return a run's configuration as plain values.

    Raises:
        FileNotFoundError: when the folder is no run.
        ValueError: when its configuration cannot be read.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a run: it has no {CONFIG}; give one that `train` made")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); the run cannot be read") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, wanted the keys of a configuration")
    return values


def refuse_changes(out: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse to go on with a run under another configuration.

    Raises:
        ValueError: when a value differs; names each.
    """
    changed = _differences(old, new)
    if changed:
        raise ValueError(f"{out} was made from another configuration: {', '.join(changed)}; start a new run for it")


def is_first_process() -> bool:
    """Return whether this process writes the folder; torchrun numbers the processes that it starts."""
    return os.environ.get("RANK", "0") == "0"


def _differences(old: dict[str, Any], new: dict[str, Any], where: str = "") -> list[str]:
    """Return "key: old -> new" for every value that differs, keys dotted."""
    found = []
    for key in {**old, **new}:
        a, b, path = old.get(key), new.get(key), f"{where}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{path}.")
        elif a != b:
            found.append(f"{path}: {a!r} -> {b!r}")
    return found
