"""One cell of a comparison: a model trained from one seed, scored on the whole held-out text, and audited."""

import dataclasses
import hashlib
import json
import statistics
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undula import __version__
from undula.audit.run import MODEL_AUDITS, audit_language_model
from undula.bench.harness import measuring
from undula.bench.records import json_safe
from undula.bench.setting import BenchSetting
from undula.config import from_dict, to_dict
from undula.data.build import Prepared, prepare
from undula.experiments.folder import CONFIG
from undula.experiments.run import load_run, read_config, read_metrics, train_run
from undula.files import write_flushed
from undula.training.config import TrainConfig
from undula.training.records import Listener

RESULT = "result.json"
"""Written last: a cell that has it is finished."""


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """What a cell trains, and where.

    Args:
        model: the row of the table that it belongs to.
        config: the run, its seed included.
        folder: the run's folder.
        audits: names of the audits that the trained model undergoes.
        setting: threads and device.
        cache_dir: where prepared corpora are kept.
    """

    model: str
    config: TrainConfig
    folder: Path
    audits: tuple[str, ...] = MODEL_AUDITS
    setting: BenchSetting = BenchSetting()
    cache_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What came of it.

    Args:
        model: the row of the table that it belongs to.
        seed: of start values and windows.
        steps: updates of the parameters.
        parameters: trained numbers.
        loss: of the whole held-out text, nats per token.
        bits_per_byte: the same, comparable between tokenizers.
        batches: SHA-256 of all batches, in order; equal ones mean equal batches.
        training_tokens_per_second: median over the run's log, with whatever else the machine did.
        findings: what the audits measured.
        failed: names of the audits that it failed.
        where: what ran it.
    """

    model: str
    seed: int
    steps: int
    parameters: int
    loss: float
    bits_per_byte: float
    batches: str
    training_tokens_per_second: float | None
    findings: tuple[dict[str, Any], ...]
    failed: tuple[str, ...]
    where: str


def cell_folder(out: Path, model: str, config: TrainConfig, fingerprint: str) -> Path:
    """Return the folder of a cell: another configuration, text or version of undula is another cell."""
    return out / "cells" / model / f"seed-{config.seed}-{digest(to_dict(config), fingerprint, __version__)}"


def digest(*parts: Any) -> str:
    """Return 12 hexadecimal digits that differ when any part does."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def finished(folder: Path) -> Cell | None:
    """Return the result of a finished cell; None when it is not finished.

    Raises:
        ValueError: when the result cannot be read.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        return from_dict(Cell, json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error}); delete {folder}, then run the command again") from error


def run_cell(plan: CellPlan, progress: Listener | None = None) -> Cell:
    """Train, score and audit; go on where an earlier call was stopped.

    Raises:
        ValueError: when the loss is no longer finite.
    """
    folder = plan.folder
    with measuring(plan.setting):
        resume = (folder / CONFIG).is_file()
        result = train_run(plan.config, folder, resume=resume, progress=progress, cache_dir=plan.cache_dir)
        findings = audit_language_model(load_run(folder).model, audits=plan.audits)
    ran = read_config(folder)
    speeds = [speed for line in read_metrics(folder) if (speed := line.get("tokens_per_second")) is not None]
    cell = Cell(
        model=plan.model,
        seed=ran.seed,
        steps=ran.steps,
        parameters=result.parameters,
        loss=result.validation.loss,
        bits_per_byte=result.validation.bits_per_byte,
        batches=batch_checksum(ran, prepare(ran.data, plan.cache_dir)),
        training_tokens_per_second=statistics.median(speeds) if speeds else None,
        findings=tuple(dataclasses.asdict(finding) for finding in findings),
        failed=tuple(finding.name for finding in findings if finding.passed is False),
        where=result.where,
    )
    write_flushed(folder / RESULT, json.dumps(json_safe(to_dict(cell)), indent=1) + "\n")
    return cell


def batch_checksum(config: TrainConfig, prepared: Prepared) -> str:
    """Return the SHA-256 of every token that a run trains on and of every label, in order."""
    count = config.steps * config.batch_size * config.accumulation
    total = hashlib.sha256()
    windows = prepared.train_windows(seed=config.seed, length=count)
    for index in range(count):
        window = windows[index]
        total.update(window["input_ids"].numpy().tobytes())
        total.update(window["shift_labels"].numpy().tobytes())
    return total.hexdigest()


def check_batches(cells: Collection[Cell]) -> None:
    """See that models with equal seed and equally many steps were trained on equal batches.

    Raises:
        ValueError: when they were not.
    """
    seen: dict[tuple[int, int], Cell] = {}
    for cell in cells:
        first = seen.setdefault((cell.seed, cell.steps), cell)
        if first.batches != cell.batches:
            raise ValueError(
                f"{first.model} and {cell.model} saw different batches from seed {cell.seed}: {first.batches[:12]} and "
                f"{cell.batches[:12]}; they cannot be compared"
            )
