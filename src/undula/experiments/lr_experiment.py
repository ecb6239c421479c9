"""Does another learning rate, or another schedule, help? Two arms that differ in nothing else, from several seeds.

OUT/experiment_results.json   verdict, differences and their interval, and what each arm reached
OUT/learning_curves.png       of both arms
OUT/losses.png                held-out losses, a dot for each seed
OUT/generated_sample.txt      text of the better arm's first model
OUT/cells                     the runs; finished ones are not repeated
"""

import dataclasses
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undula.bench.environment import make_records
from undula.bench.records import append_records, json_safe, results_file
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.data.build import prepare
from undula.experiments.alike import check_alike, where_it_trains
from undula.experiments.cell import Cell, CellPlan, check_batches
from undula.experiments.compare import CellRunner, ComparePlan, Watch, recorded
from undula.experiments.pictures import learning
from undula.experiments.run import load_run, read_metrics, resolved_config
from undula.experiments.sample import Sampling, continuation
from undula.files import write_flushed
from undula.ops.student import mean_interval
from undula.training.config import TrainConfig
from undula.training.records import Listener
from undula.training.trainer import NonFiniteError
from undula.viz.comparison import ranked_values
from undula.viz.curves import Learning, learning_curves
from undula.viz.style import png

BASELINE, CHANGED = "baseline", "changed"
RESULTS, SAMPLE = "experiment_results.json", "generated_sample.txt"
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one of the two reached.

    Args:
        name: "baseline" or "changed".
        learning_rate, min_learning_rate, warmup_steps: its schedule.
        losses: held-out nats per token, one for each seed.
        perplexity: of their mean.
        target_steps: for each seed the first step that was scored with the wanted perplexity, None where none was.
    """

    name: str
    learning_rate: float
    min_learning_rate: float
    warmup_steps: int
    losses: tuple[float, ...]
    perplexity: float
    target_steps: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What came of it.

    Args:
        verdict: "supported": the changed arm's loss is lower, and the interval does not reach 0; "refuted": it is
            higher, likewise, or no longer finite; "inconclusive": neither.
        reason: the numbers in a sentence.
        differences: changed - baseline, nats per token, of the same seed and so the same start and batches.
        interval: of their mean, Student's.
        arms: the baseline, then the other; none after a loss that was no longer finite.
        files: what was written.
    """

    verdict: str
    reason: str
    differences: tuple[float, ...]
    interval: tuple[float, float]
    arms: tuple[Arm, ...]
    files: tuple[Path, ...]


def lr_experiment(
    baseline: TrainConfig,
    changed: TrainConfig,
    out: Path,
    *,
    seeds: int = 3,
    target_perplexity: float | None = None,
    results: Path | None = None,
    cache_dir: Path | None = None,
    watch: Watch = lambda _: None,
) -> Experiment:
    """Train both arms from each seed, alike but for the optimizer's settings, and return whether the change helps.

    Training goes on after the wanted perplexity: a schedule that is cut short is another schedule. When it was reached
    is told.

    Args:
        baseline, changed: the runs; their names and seeds are replaced.
        out: the folder.
        seeds: runs of each arm.
        target_perplexity: per token of the held-out text.
        results: folder of the records; by default benchmarks/results of the working directory's repository.
        cache_dir: where prepared corpora are kept.
        watch: gives what is told about the progress of a run.

    Raises:
        ValueError: for fewer than two seeds, a target below 1, arms that differ in more than the optimizer's settings,
            or a baseline whose loss is no longer finite.
    """
    if seeds < 2:
        raise ValueError(f"seeds={seeds}; wanted at least 2: one says nothing about chance")
    if target_perplexity is not None and not target_perplexity > 1:
        raise ValueError(f"target_perplexity={target_perplexity}; wanted more than 1")
    prepared = prepare(baseline.data, cache_dir)
    pair = zip((BASELINE, CHANGED), (baseline, changed), strict=True)
    arms = [dataclasses.replace(resolved_config(config, prepared), name=name, seed=0) for name, config in pair]
    _check_factor(*arms)
    plan = ComparePlan(title="learning rate", seeds=seeds, audits=(), setting=where_it_trains(arms[0], BenchSetting()))
    check_alike(arms)
    begun: list[CellPlan] = []

    def noted(cell: CellPlan) -> Listener | None:
        begun.append(cell)
        return watch(cell)

    runner = CellRunner(out, plan, prepared, results_file("lr_experiment", results), cache_dir, noted)
    found = _outcome(arms, runner, begun, target_perplexity)
    asked = {"target_perplexity": target_perplexity, "level": LEVEL, "seeds": seeds}
    asked["arms_trained"] = [recorded(arm, prepared) for arm in arms]
    figures = {name: value for name, value in to_dict(found).items() if name != "files"}
    write_flushed(out / RESULTS, json.dumps(json_safe({**figures, **asked}), indent=1, allow_nan=False) + "\n")
    append_records(runner.results, make_records("learning rate", [(asked, figures)], plan.setting))
    return dataclasses.replace(found, files=tuple(sorted(path for path in out.iterdir() if path.is_file())))


def _outcome(
    arms: Sequence[TrainConfig], runner: CellRunner, begun: Sequence[CellPlan], target: float | None
) -> Experiment:
    """Train what is missing, judge, and draw."""
    try:
        cells = runner.all(arms)
    except NonFiniteError as error:
        if begun[-1].model == BASELINE:
            raise ValueError(f"the baseline diverged from seed {begun[-1].config.seed}: {error}") from error
        return _diverged(begun[-1].config.seed, error)
    check_batches(cells)
    found = judged(arms, cells, [_reached(folder, target) for folder in runner.folders])
    _draw(runner.out, cells, runner.folders)
    _write_sample(runner.out, found, runner.folders)
    return found


def epochs_of(config: TrainConfig, epochs: float, cache_dir: Path | None = None) -> TrainConfig:
    """Return a run of so many passes over its text, scored at least eight times and saved half-way.

    Raises:
        ValueError: for no pass.
    """
    if not epochs > 0:
        raise ValueError(f"epochs={epochs}; wanted more than 0 passes over the text")
    tokens = config.batch_size * config.accumulation * config.data.block_size
    steps = max(1, round(epochs * len(prepare(config.data, cache_dir).train) / tokens))
    return scored_often(dataclasses.replace(config, steps=steps))


def scored_often(config: TrainConfig) -> TrainConfig:
    """Return a run that is scored at least eight times and saved half-way."""
    often, half = max(1, config.steps // 8), max(1, config.steps // 2)
    return dataclasses.replace(config, eval_every=min(config.eval_every, often), save_every=half)


def judged(arms: Sequence[TrainConfig], cells: Sequence[Cell], reached: Sequence[int | None]) -> Experiment:
    """Return the verdict on cells of both arms.

    Args:
        arms: the runs, baseline first.
        cells: one for each arm and seed.
        reached: for each cell, when it had the wanted perplexity.
    """
    losses = {arm.name: [cell.loss for cell in cells if cell.model == arm.name] for arm in arms}
    steps = {arm.name: [n for n, cell in zip(reached, cells, strict=True) if cell.model == arm.name] for arm in arms}
    differences = [new - old for old, new in zip(losses[BASELINE], losses[CHANGED], strict=True)]
    low, high = mean_interval(differences, LEVEL)
    verdict = "supported" if high < 0 else "refuted" if low > 0 else "inconclusive"
    mean = statistics.fmean(differences)
    reason = (
        f"changed - baseline: {mean:+.4f} nats per token, {LEVEL:.0%} interval {low:+.4f} to {high:+.4f}, from "
        f"{len(differences)} seeds"
    )
    told = tuple(_arm(arm, losses[arm.name], steps[arm.name]) for arm in arms)
    return Experiment(
        verdict=verdict, reason=reason, differences=tuple(differences), interval=(low, high), arms=told, files=()
    )


def _arm(config: TrainConfig, losses: Sequence[float], reached: Sequence[int | None]) -> Arm:
    return Arm(
        name=config.name,
        learning_rate=config.optim.learning_rate,
        min_learning_rate=config.optim.min_learning_rate,
        warmup_steps=config.optim.warmup_steps,
        losses=tuple(losses),
        perplexity=math.exp(min(700.0, statistics.fmean(losses))),
        target_steps=tuple(reached),
    )


def _diverged(seed: int, error: NonFiniteError) -> Experiment:
    reason = f"the changed arm diverged from seed {seed}: {error}"
    return Experiment(
        verdict="refuted", reason=reason, differences=(), interval=(math.nan, math.nan), arms=(), files=()
    )


def _check_factor(baseline: TrainConfig, changed: TrainConfig) -> None:
    ours, theirs = to_dict(changed), to_dict(baseline)
    more = [key for key in ours if key not in ("optim", "name") and ours[key] != theirs[key]]
    if more:
        raise ValueError(f"the arms differ in {', '.join(more)}; wanted a difference in optim alone")


def _reached(folder: Path, target: float | None) -> int | None:
    scores = [(int(line["step"] or 0), line.get("validation_loss")) for line in read_metrics(folder)]
    limit = -math.inf if target is None else math.log(target)
    return next((step for step, loss in scores if loss is not None and loss <= limit), None)


def _draw(out: Path, cells: Sequence[Cell], folders: Sequence[Path]) -> None:
    both = []
    for name in (BASELINE, CHANGED):
        runs = zip(cells, folders, strict=True)
        each = [learning(name, read_metrics(folder)) for cell, folder in runs if cell.model == name]
        train, held_out = ([curve for one in each for curve in getattr(one, side)] for side in ("train", "held_out"))
        both.append(Learning(label=name, train=train, held_out=held_out))
    losses = {name: [cell.loss for cell in cells if cell.model == name] for name in (BASELINE, CHANGED)}
    (out / "learning_curves.png").write_bytes(png(learning_curves(both)))
    (out / "losses.png").write_bytes(png(ranked_values(losses, "Held-out loss (nats per token)")))


def _write_sample(out: Path, found: Experiment, folders: Sequence[Path]) -> None:
    # Cells are baseline and changed in turns: the first of the better arm is one of the first two.
    better = folders[0] if found.arms[0].perplexity <= found.arms[1].perplexity else folders[1]
    run = load_run(better)
    text = run.tokenizer.decode(continuation(run, "", Sampling(max_new_tokens=200)), skip_special_tokens=True)
    write_flushed(out / SAMPLE, f"{text}\n")


def summary(found: Experiment) -> list[tuple[Any, ...]]:
    """Return a row for each arm: name, rates, warm-up, mean loss, perplexity, and when the target was reached."""
    return [
        (
            arm.name,
            f"{arm.learning_rate:.3g} to {arm.min_learning_rate:.3g}",
            arm.warmup_steps,
            f"{statistics.fmean(arm.losses):.4f}",
            f"{arm.perplexity:.3f}",
            ", ".join("-" if step is None else str(step) for step in arm.target_steps),
        )
        for arm in found.arms
    ]
