"""Encoders against each other: the same items in the same order, changed in the same way, from several seeds.

out/MODEL/seed-N-HASH    a run for each model and seed
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from undula.bench.environment import make_records
from undula.bench.records import append_records, results_file
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.data.labelled import prepare_labelled
from undula.experiments.cell import digest
from undula.experiments.folder import CONFIG, RunResult
from undula.experiments.ranking import MOST_UNEQUAL
from undula.experiments.recognition import train_recogniser
from undula.training.recognition_config import RecognitionTrainConfig
from undula.training.records import METRICS, Listener, read_lines

SHARED = ("data", "augment", "steps", "batch_size", "accumulation", "label_smoothing", "device", "precision")
"""What has to be equal for a comparison to be one of models."""

Watch = Callable[[RecognitionTrainConfig], Listener | None]
"""Called before a run; returns what is to be told about its progress."""


@dataclass(frozen=True, kw_only=True)
class RecognitionRow:
    """A model in the table.

    Args:
        model: its name.
        seeds: how many.
        parameters: trained numbers.
        scores: means over seeds by name.
        spreads: standard deviations over seeds (n - 1) by name; NaN for one seed.
        seconds: of training, mean over seeds, without scores and checkpoints.
    """

    model: str
    seeds: int
    parameters: int
    scores: dict[str, float]
    spreads: dict[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RecognitionComparison:
    """What came of it.

    Args:
        title: what the comparison is called.
        rows: in the order of the models.
        warnings: what a reader has to know.
        results: the file that the records were added to.
    """

    title: str
    rows: tuple[RecognitionRow, ...]
    warnings: tuple[str, ...]
    results: Path


def compare_recognition(
    configs: Sequence[RecognitionTrainConfig],
    out: Path,
    *,
    seeds: int = 3,
    title: str | None = None,
    results: Path | None = None,
    watch: Watch = lambda _: None,
) -> RecognitionComparison:
    """Train each model from each seed and return the table; each run is recorded when it is finished.

    Finished runs in `out` are not trained again, but scored and recorded again.

    Args:
        configs: a run for each model; their seeds are replaced.
        out: where runs are kept.
        seeds: runs of each model, from seeds 0, 1, 2, ...
        title: what the comparison is called in tables; by default as its first model.
        results: folder of the records; by default benchmarks/results of the working directory's repository.
        watch: gives what is told about the progress of a run.

    Raises:
        ValueError: when models would not be trained alike, or a name is taken twice; as `train_recogniser` does.
    """
    _check(configs, seeds)
    first = configs[0]
    title = title or first.name
    file, device = results_file("recognition", results), "cpu"
    if first.device == "auto" and torch.cuda.is_available():
        device = "cuda"
    setting = BenchSetting(repeats=1, warmup=0, device=device, threads=torch.get_num_threads())
    fingerprint = prepare_labelled(first.data).fingerprint
    found: dict[str, list[tuple[RunResult[RecognitionTrainConfig], float]]] = {config.name: [] for config in configs}
    for seed in range(seeds):
        for config in (dataclasses.replace(config, seed=seed) for config in configs):
            folder = out / config.name / f"seed-{seed}-{digest(to_dict(config), fingerprint)}"
            resume = (folder / CONFIG).is_file()
            result = train_recogniser(config, folder, resume=resume, progress=watch(config))
            seconds = training_seconds(folder, config)
            found[config.name].append((result, seconds))
            what = {"case": title, "model": config.name, "seed": seed, "train": _recorded(result, fingerprint)}
            figures = {**result.validation.to_dict(), "scored": result.validation.count}
            figures |= {"parameters": result.parameters, "training_seconds": seconds}
            append_records(file, make_records("recognition", [(what, figures)], setting))
    rows = tuple(_row(name, runs) for name, runs in found.items())
    return RecognitionComparison(title=title, rows=rows, warnings=_warnings(rows), results=file)


def training_seconds(folder: Path, config: RecognitionTrainConfig) -> float:
    """Return how long the steps of a run took, from what it wrote at each log; scores and checkpoints do not count."""
    lines: list[Any] = [line for line in read_lines(folder / METRICS) if line.get("items_per_second")]
    steps = [0, *(int(line["step"] or 0) for line in lines)]
    items = config.batch_size * config.accumulation
    return sum((b - a) * items / line["items_per_second"] for a, b, line in zip(steps, steps[1:], lines, strict=False))


def _check(configs: Sequence[RecognitionTrainConfig], seeds: int) -> None:
    names = [config.name for config in configs]
    if not names or seeds < 1:
        raise ValueError(f"{len(names)} models and {seeds} seeds; wanted at least one of each")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice; give each model a name of its own")
    first = to_dict(configs[0])
    for config in configs[1:]:
        values = to_dict(config)
        unequal = [f"{key} ({first[key]} and {values[key]})" for key in SHARED if first[key] != values[key]]
        if unequal:
            raise ValueError(f"{names[0]} and {config.name} would not be trained alike: {'; '.join(unequal)}")


def _recorded(result: RunResult[RecognitionTrainConfig], fingerprint: str) -> dict[str, Any]:
    """The configuration as records keep it: data by name and fingerprint, not by their place on one disk."""
    values = to_dict(result.config)
    values["data"] |= {"source": Path(result.config.data.source).name, "fingerprint": fingerprint}
    return values


def _row(name: str, runs: Sequence[tuple[RunResult[RecognitionTrainConfig], float]]) -> RecognitionRow:
    scores = [result.validation.to_dict() for result, _ in runs]
    means = {key: statistics.fmean(score[key] for score in scores) for key in scores[0]}
    one = len(runs) == 1
    spreads = {key: math.nan if one else statistics.stdev(score[key] for score in scores) for key in means}
    return RecognitionRow(
        model=name,
        seeds=len(runs),
        parameters=runs[0][0].parameters,
        scores=means,
        spreads=spreads,
        seconds=statistics.fmean(seconds for _, seconds in runs),
    )


def _warnings(rows: Sequence[RecognitionRow]) -> tuple[str, ...]:
    wanted = rows[0].parameters
    return tuple(
        f"{row.model} has {row.parameters / wanted - 1:+.1%} parameters against {rows[0].model} ({wanted:,}): not "
        f"equal within {MOST_UNEQUAL:.0%}"
        for row in rows[1:]
        if abs(row.parameters / wanted - 1) > MOST_UNEQUAL
    )
