"""Models of one task against each other: the same items in the same order, changed in the same way, from several seeds.

Of recognisers and translators, which have scores of their own; language models are compared by `compare`.

out/MODEL/seed-N-HASH    a run for each model and seed
"""

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from undula.audit.finding import Finding, failures
from undula.bench.environment import Config, make_records
from undula.bench.harness import measuring
from undula.bench.records import append_records, results_file
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.data.labelled import prepare_labelled
from undula.data.parallel import prepare_parallel
from undula.experiments.alike import SHARED, check_alike, where_it_trains
from undula.experiments.cell import digest
from undula.experiments.folder import CONFIG, RunResult, training_seconds
from undula.experiments.processes import in_processes
from undula.experiments.ranking import MOST_UNEQUAL
from undula.experiments.recognition import train_recogniser
from undula.experiments.translation import audit_translation_run, train_translation
from undula.training.config import RunConfig
from undula.training.kinds import task_of
from undula.training.recognition_config import RECOGNITION
from undula.training.records import Listener
from undula.training.translation_config import TRANSLATION

Watch = Callable[[Any], Listener | None]
"""Called before a run; returns what is to be told about its progress."""


@dataclass(frozen=True, kw_only=True)
class ScoredTask:
    """How models of a task are compared.

    Args:
        train: trains one into a folder, or goes on there.
        fingerprint: of the data that are described.
        place: where data say which disk they lie on.
        shared: what has to be equal for a comparison to be one of models.
        audit: what is measured of a trained model beside its score; None: nothing.
    """

    train: Callable[..., RunResult[Any]]
    fingerprint: Callable[[Any], str]
    place: str
    shared: tuple[str, ...]
    audit: Callable[[Path], list[Finding]] | None = None


_ALIKE = (*SHARED, "label_smoothing")

TASKS: Mapping[str, ScoredTask] = {
    RECOGNITION: ScoredTask(
        train=train_recogniser,
        fingerprint=lambda data: prepare_labelled(data).fingerprint,
        place="source",
        shared=(*_ALIKE, "augment"),
    ),
    TRANSLATION: ScoredTask(
        train=train_translation,
        fingerprint=lambda data: prepare_parallel(data).fingerprint,
        place="folder",
        shared=(*_ALIKE, "search"),
        audit=audit_translation_run,
    ),
}
"""By the task that a run's configuration names."""


@dataclass(frozen=True, kw_only=True)
class ScoredRow:
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
class ScoredComparison:
    """What came of it.

    Args:
        title: what the comparison is called.
        rows: in the order of the models.
        warnings: what a reader has to know.
        results: the file that the records were added to.
    """

    title: str
    rows: tuple[ScoredRow, ...]
    warnings: tuple[str, ...]
    results: Path


@dataclass(frozen=True, kw_only=True)
class ScoredPlan:
    """A run of a comparison.

    Args:
        config: what is trained, its seed included.
        folder: the run's folder.
        threads: of an operation.
    """

    config: RunConfig
    folder: Path
    threads: int


Outcome = tuple[RunResult[Any], Config]
"""What came of a run, and what is recorded of it."""


def compare_scored(
    configs: Sequence[RunConfig],
    out: Path,
    *,
    seeds: int = 3,
    jobs: int = 1,
    title: str | None = None,
    results: Path | None = None,
    watch: Watch = lambda _: None,
) -> ScoredComparison:
    """Train each model from each seed and return the table; each run is recorded when it is finished.

    Finished runs in `out` are not trained again, but scored and recorded again.

    Args:
        configs: a run for each model; their seeds are replaced.
        out: where runs are kept.
        seeds: runs of each model, from seeds 0, 1, 2, ...
        jobs: processes that train, one thread each, or one GPU each where there are any.
        title: what the comparison is called in tables; by default as its first model.
        results: folder of the records; by default benchmarks/results of the working directory's repository.
        watch: gives what is told about the progress of a run that trains in this process.

    Raises:
        ValueError: when models would not be trained alike, or a name is taken twice; as training does.
    """
    if seeds < 1:
        raise ValueError(f"seeds={seeds}; wanted at least 1")
    check_alike(configs, TASKS[task_of(configs[0])].shared if configs else ())
    first: Any = configs[0]
    kind = task_of(first)
    task = TASKS[kind]
    called: str = title or first.name
    file = results_file(kind, results)
    threads = torch.get_num_threads() if jobs == 1 else 1
    setting = where_it_trains(first, BenchSetting(repeats=1, warmup=0, threads=threads))
    fingerprint = task.fingerprint(first.data)
    plans = [
        _plan(dataclasses.replace(c, seed=seed), out, fingerprint, threads) for seed in range(seeds) for c in configs
    ]
    found: dict[Path, Outcome] = {}
    for plan, outcome in in_processes(train_scored, plans, jobs) if jobs > 1 else _here(plans, watch):
        found[plan.folder] = outcome
        result, figures = outcome
        what = {"case": called, "model": plan.config.name, "seed": plan.config.seed}
        what |= {"train": _recorded(result.config, task.place, fingerprint)}
        append_records(file, make_records(kind, [(what, figures)], setting))
    outcomes = {c.name: [found[p.folder] for p in plans if p.config.name == c.name] for c in configs}
    rows = tuple(_row(name, runs) for name, runs in outcomes.items())
    warnings = (*_warnings(rows), *_failures(outcomes))
    return ScoredComparison(title=called, rows=rows, warnings=warnings, results=file)


def _plan(config: RunConfig, out: Path, fingerprint: str, threads: int) -> ScoredPlan:
    folder = out / config.name / f"seed-{config.seed}-{digest(to_dict(config), fingerprint)}"
    return ScoredPlan(config=config, folder=folder, threads=threads)


def _here(plans: Sequence[ScoredPlan], watch: Watch) -> Iterator[tuple[ScoredPlan, Outcome]]:
    for plan in plans:
        yield plan, train_scored(plan, watch(plan.config))


def train_scored(plan: ScoredPlan, progress: Listener | None = None) -> Outcome:
    """Train, score and audit, or go on where an earlier call was stopped; return what came of it."""
    task, resume = TASKS[task_of(plan.config)], (plan.folder / CONFIG).is_file()
    with measuring(BenchSetting(threads=plan.threads)):
        result = task.train(plan.config, plan.folder, resume=resume, progress=progress)
        return result, _figures(result, task)


def _figures(result: RunResult[Any], task: ScoredTask) -> Config:
    """What is recorded of a run."""
    figures = {**result.validation.to_dict(), "scored": result.validation.count}
    figures |= {"parameters": result.parameters, "training_seconds": training_seconds(result.folder)}
    if task.audit is not None:
        figures["failed_audits"] = [finding.name for finding in failures(task.audit(result.folder))]
    return figures


def _failures(found: Mapping[str, Sequence[Outcome]]) -> tuple[str, ...]:
    return tuple(
        f"{name}, seed {result.config.seed}, fails its audit: {', '.join(figures['failed_audits'])}"
        for name, runs in found.items()
        for result, figures in runs
        if figures.get("failed_audits")
    )


def _recorded(config: RunConfig, place: str, fingerprint: str) -> dict[str, Any]:
    """The configuration as records keep it: data by name and fingerprint, not by their place on one disk."""
    values = to_dict(config)
    values["data"] |= {place: Path(values["data"][place]).name, "fingerprint": fingerprint}
    return values


def _row(name: str, runs: Sequence[Outcome]) -> ScoredRow:
    scores = [result.validation.to_dict() for result, _ in runs]
    means = {key: statistics.fmean(score[key] for score in scores) for key in scores[0]}
    one = len(runs) == 1
    spreads = {key: math.nan if one else statistics.stdev(score[key] for score in scores) for key in means}
    return ScoredRow(
        model=name,
        seeds=len(runs),
        parameters=runs[0][0].parameters,
        scores=means,
        spreads=spreads,
        seconds=statistics.fmean(figures["training_seconds"] for _, figures in runs),
    )


def _warnings(rows: Sequence[ScoredRow]) -> tuple[str, ...]:
    wanted = rows[0].parameters
    return tuple(
        f"{row.model} has {row.parameters / wanted - 1:+.1%} parameters against {rows[0].model} ({wanted:,}): not "
        f"equal within {MOST_UNEQUAL:.0%}"
        for row in rows[1:]
        if abs(row.parameters / wanted - 1) > MOST_UNEQUAL
    )
