"""Models against each other: the same batches, the whole held-out text, several seeds, and an audit of each.

out/cells/MODEL/seed-N-HASH    a run for each model and seed, and its result.json once it is finished
out/speed-HASH.json            train steps of all models, measured in turns
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undula.audit.run import MODEL_AUDITS
from undula.bench.environment import make_records
from undula.bench.records import append_records, results_file
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.data.build import Prepared, prepare
from undula.experiments.alike import SHARED, check_alike, where_it_trains
from undula.experiments.cell import Cell, CellPlan, cell_folder, check_batches, finished, run_cell
from undula.experiments.processes import in_processes
from undula.experiments.ranking import EQUAL_TIME, Row, parameter_warnings, rows_of
from undula.experiments.run import resolved_config
from undula.experiments.speeds import equal_time, measured_speeds
from undula.training.config import TrainConfig
from undula.training.records import Listener

BASELINE = "attention_lm"

Watch = Callable[[CellPlan], Listener | None]
"""Called before a cell is trained in this process; returns what is to be told about its progress."""


@dataclass(frozen=True, kw_only=True)
class ComparePlan:
    """How to compare.

    Args:
        title: what the comparison is called in tables, such as "p0, tinyshakespeare.txt".
        seeds: runs of each model, from seeds 0, 1, 2, ...
        baseline: name of the model that ratios are against; by default `attention_lm` if it takes part, else the first.
        equal_time: train each model also for as many steps as fit into the baseline's time.
        jobs: processes that train, each on one GPU where there are any; the first seed of all models comes before the
            second.
        audits: names of the audits that each trained model undergoes.
        setting: how train steps are timed; device and precision become those of the runs, and each process that trains
            has its threads.

    Raises:
        ValueError: for fewer than 1 seed or job.
    """

    title: str = "comparison"
    seeds: int = 3
    baseline: str | None = None
    equal_time: bool = False
    jobs: int = 1
    audits: tuple[str, ...] = MODEL_AUDITS
    setting: BenchSetting = BenchSetting(repeats=21, warmup=2)

    def __post_init__(self) -> None:
        for name in ("seeds", "jobs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; wanted at least 1")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came of it.

    Args:
        rows: ranked by loss; models trained for equal time, if any, in rows of their own after the others.
        warnings: what a reader has to know.
        cells: one for each model, budget and seed.
        folders: of each cell's run, in the same order.
        results: the file that the records were added to.
    """

    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    cells: tuple[Cell, ...]
    folders: tuple[Path, ...]
    results: Path


def compare(
    configs: Sequence[TrainConfig],
    out: Path,
    plan: ComparePlan,
    *,
    results: Path | None = None,
    cache_dir: Path | None = None,
    watch: Watch = lambda _: None,
) -> Comparison:
    """Train each model from each seed and return the table; finished cells in `out` are not trained again.

    Args:
        configs: a run for each model, all of them on the same data; their seeds are replaced.
        out: where runs and results are kept.
        plan: how to compare.
        results: folder of the records; by default benchmarks/results of the working directory's repository.
        cache_dir: where prepared corpora are kept.
        watch: gives what is told about the progress of a cell that trains in this process.

    Raises:
        ValueError: when models would not be trained alike, a name is unknown or taken twice, or a loss is no longer
            finite.
    """
    check_alike(configs)
    baseline = _baseline([config.name for config in configs], plan.baseline)
    plan = dataclasses.replace(plan, setting=where_it_trains(configs[0], plan.setting))
    prepared = prepare(configs[0].data, cache_dir)
    ready = [resolved_config(config, prepared) for config in configs]
    speeds = measured_speeds(ready, out, plan.setting, baseline)
    run = CellRunner(out, plan, prepared, results_file("compare", results), cache_dir, watch)
    cells = run.all(ready)
    check_batches(cells)
    rows = rows_of(cells, speeds, baseline)
    if plan.equal_time:
        timed = run.all([equal_time(config, speeds) for config in ready if config.name != baseline])
        check_batches([*cells, *timed])
        rows += rows_of([c for c in cells if c.model == baseline] + timed, speeds, baseline, EQUAL_TIME)
        cells += timed
    warnings = parameter_warnings(rows, baseline)
    models = [recorded(config, prepared) for config in ready]
    shared = {name: models[0][name] for name in SHARED}
    summary = {"title": plan.title, "baseline": baseline, "shared": shared, "models": models}
    figures = {"rows": [to_dict(row) for row in rows], "warnings": warnings}
    append_records(run.results, make_records("compare", [(summary, figures)], plan.setting))
    return Comparison(
        rows=tuple(rows),
        warnings=tuple(warnings),
        cells=tuple(cells),
        folders=tuple(run.folders),
        results=run.results,
    )


def recorded(config: TrainConfig, prepared: Prepared) -> dict[str, Any]:
    """Return a run's configuration as records keep it: a text by name and fingerprint, not by its place on one disk."""
    values = to_dict(config)
    source = Path(config.data.source)
    if source.exists():
        values["data"] |= {"source": source.name, "fingerprint": prepared.fingerprint}
    return values


def order(configs: Sequence[TrainConfig], seeds: int) -> Iterator[TrainConfig]:
    """Give all runs in the order in which they are trained: every model from seed 0, then every model from seed 1."""
    for seed in range(seeds):
        for config in configs:
            yield dataclasses.replace(config, seed=seed)


class CellRunner:
    """Trains cells that are not finished yet and records them.

    Args:
        out: where the runs are kept.
        plan: seeds, processes, audits and setting.
        prepared: the text of all runs.
        results: file that the records are added to.
        cache_dir: where prepared corpora are kept.
        watch: gives what is told about the progress of a cell.
    """

    def __init__(
        self, out: Path, plan: ComparePlan, prepared: Prepared, results: Path, cache_dir: Path | None, watch: Watch
    ) -> None:
        self.out, self.plan, self.prepared = out, plan, prepared
        self.results, self.cache_dir, self.watch = results, cache_dir, watch
        self.folders: list[Path] = []

    def all(self, configs: Sequence[TrainConfig]) -> list[Cell]:
        """Return the cells of all models and seeds, in order."""
        plans = [self._plan(config) for config in order(configs, self.plan.seeds)]
        missing = [plan for plan in plans if finished(plan.folder) is None]
        if self.plan.jobs == 1:
            for plan in missing:
                self._record(plan, run_cell(plan, self.watch(plan)))
        else:
            for plan, cell in in_processes(run_cell, missing, self.plan.jobs):
                self._record(plan, cell)
        self.folders += [plan.folder for plan in plans]
        return [cell for plan in plans if (cell := finished(plan.folder)) is not None]

    def _plan(self, config: TrainConfig) -> CellPlan:
        folder = cell_folder(self.out, config.name, config, self.prepared.fingerprint)
        return CellPlan(
            model=config.name,
            config=config,
            folder=folder,
            audits=self.plan.audits,
            setting=self.plan.setting,
            cache_dir=self.cache_dir,
        )

    def _record(self, plan: CellPlan, cell: Cell) -> None:
        figures = {k: v for k, v in to_dict(cell).items() if k not in ("model", "seed")}
        run = recorded(plan.config, self.prepared)
        config = {"title": self.plan.title, "model": cell.model, "seed": cell.seed, "train": run}
        append_records(self.results, make_records("compare cell", [(config, figures)], self.plan.setting))


def _baseline(names: Sequence[str], wanted: str | None) -> str:
    if wanted is not None and wanted not in names:
        raise ValueError(f"baseline={wanted!r} does not take part; it is one of {', '.join(names)}")
    return wanted or (BASELINE if BASELINE in names else names[0])
