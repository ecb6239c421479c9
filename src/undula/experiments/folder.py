"""The folder of a run, whatever it trains: opened once, read again, and refused to another configuration."""

import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from undula.config import from_dict, to_dict
from undula.files import write_flushed
from undula.names import unknown_name
from undula.training.config import RunConfig
from undula.training.kinds import KINDS, LANGUAGE_MODEL, RunKind
from undula.training.manifest import Checkpoint, newest_whole
from undula.training.records import METRICS, Listener, drop_lines_after, read_lines
from undula.training.task import Task
from undula.training.trainer import BUILDING, RunTrainer

CONFIG = "config.json"

C = TypeVar("C", bound=RunConfig)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunResult(Generic[C]):
    """What came of a run.

    Args:
        folder: where it is.
        config: what was run, with all that only the data know.
        checkpoint: the last one.
        validation: score of what is held out after the last step.
        parameters: trained numbers of the model.
        where: what ran it, such as "cpu, float32".
    """

    folder: Path
    config: C
    checkpoint: Path
    validation: Any
    parameters: int
    where: str


def train_into(
    out: Path, config: C, model: nn.Module, task: Task, *, resume: bool, progress: Listener | None
) -> RunResult[C]:
    """Train a model into a run's folder, or go on with the run there, to the last step.

    Raises:
        ValueError: when the folder holds a run already (without resume), was made from another configuration or other
            data (with resume), or has no whole checkpoint left; when the loss is no longer finite.
        FileNotFoundError: when there is no run to resume.
        OSError: when the disk is full.
    """
    old = to_dict(read_run(out, type(config))) if resume else None
    checkpoint = open_run(out, to_dict(config), old, partial(check_data, fingerprint=task.data))
    trainer = RunTrainer(model, config, task, out, progress)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint.path))
    # A run that was finished before has no step left, after which it would be scored.
    validation = trainer.validation or trainer.score()
    shutil.rmtree(out / "checkpoints" / BUILDING, ignore_errors=True)
    return RunResult(
        folder=out,
        config=config,
        checkpoint=out / "checkpoints" / f"step-{config.steps}",
        validation=validation,
        parameters=sum(p.numel() for p in model.parameters()),
        where=trainer.where,
    )


def training_seconds(folder: Path, last: float = math.inf) -> float:
    """Return how long the steps of a run took, as it wrote at each log; scores and checkpoints do not count.

    Args:
        folder: the run's folder.
        last: the last step that counts.
    """
    lines: list[dict[str, Any]] = [line for line in read_lines(folder / METRICS) if "seconds" in line]
    return sum(line["seconds"] for line in lines if line["step"] <= last)


def check_data(checkpoint: Checkpoint, fingerprint: str) -> None:
    """See that a checkpoint was trained on data of this fingerprint.

    Raises:
        ValueError: when it was not.
    """
    if checkpoint.data != fingerprint:
        raise ValueError(
            f"the data are no longer those that {checkpoint.path} was trained on; bring them back, or start a new run"
        )


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


def read_any_run(folder: Path) -> RunConfig:
    """Return the configuration of a run, whatever it trains.

    Raises:
        FileNotFoundError: when the folder is no run.
        ValueError: when its configuration cannot be read.
    """
    kind, values = _kind(folder)
    return from_dict(kind.config, values, CONFIG)


def read_run(folder: Path, wanted: type[C]) -> C:
    """Return the configuration of a run, which has to be of this class.

    Raises:
        FileNotFoundError: when the folder is no run.
        ValueError: when it trained something else, or its configuration cannot be read.
    """
    kind, values = _kind(folder)
    if kind.config is not wanted:
        asked = next(kind.what for kind in KINDS.values() if kind.config is wanted)
        raise ValueError(
            f"{folder} is the run of {kind.what}, not of {asked}; what there is for every run: undula show, undula "
            "evaluate, undula train --resume"
        )
    return from_dict(wanted, values, CONFIG)


def _kind(folder: Path) -> tuple[RunKind, dict[str, Any]]:
    values = read_values(folder)
    task = values.get("task", LANGUAGE_MODEL)
    if task not in KINDS:
        raise unknown_name(f"task in {folder / CONFIG}", str(task), KINDS)
    return KINDS[task], values


def resolved(source: str) -> str:
    """Return the name of data so that a path means the same from any folder; other names stay as they are."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


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
