"""The folder of a run, whatever it trains: opened once, read again, and refused to another configuration."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from undula.files import write_flushed
from undula.training.manifest import Checkpoint, newest_whole
from undula.training.records import METRICS, drop_lines_after
from undula.training.trainer import BUILDING, RunTrainer

CONFIG = "config.json"

log = logging.getLogger(__name__)


def open_run(
    out: Path, values: dict[str, Any], old: dict[str, Any] | None, check: Callable[[Checkpoint], None]
) -> Checkpoint | None:
    """Make a run's folder; or go on with a run: return its newest whole checkpoint, and forget what came after it.

    The first process writes, for all.

    Args:
        out: the run's folder.
        values: the configuration that is asked for.
        old: the one that the run was made from; None for a new run.
        check: refuses a checkpoint that was trained on other data.

    Raises:
        ValueError: when a new run finds another one in its folder; when a value differs from the old one (names each),
            or every checkpoint is damaged.
    """
    if old is None:
        if is_first_process():
            if (out / CONFIG).exists():
                raise ValueError(f"{out} holds a run already; resume it, or choose another folder")
            out.mkdir(parents=True, exist_ok=True)
            write_flushed(out / CONFIG, json.dumps(values, indent=1) + "\n")
        return None
    if changed := _differences(old, values):
        raise ValueError(f"{out} was made from another configuration: {', '.join(changed)}; start a new run for it")
    checkpoint = newest_whole(out)
    if checkpoint is None:
        log.warning("%s has no checkpoint yet; starting from the first step", out)
    else:
        check(checkpoint)
    if is_first_process():
        shutil.rmtree(out / "checkpoints" / BUILDING, ignore_errors=True)
        drop_lines_after(out / METRICS, 0 if checkpoint is None else checkpoint.step)
    return checkpoint


def newest(folder: Path) -> Checkpoint:
    """Return a run's newest whole checkpoint.

    Raises:
        FileNotFoundError: when it has none yet.
        ValueError: when every one is damaged.
    """
    checkpoint = newest_whole(folder)
    if checkpoint is None:
        raise FileNotFoundError(f"{folder} has no checkpoint yet; resume the run until it has saved one")
    return checkpoint


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


def trained(trainer: RunTrainer, checkpoint: Checkpoint | None) -> Any:
    """Train from a checkpoint, or from the start, to the last step; return the score of what is held out."""
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint.path))
    # A run that was finished before has no step left, after which it would be scored.
    validation = trainer.validation or trainer.score()
    shutil.rmtree(trainer.folder / "checkpoints" / BUILDING, ignore_errors=True)
    return validation
