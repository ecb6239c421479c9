"""Ablations: models that differ from each other in one factor each, trained alike, and what each factor brings.

OUT/ablation_results.json        the score, speed and configuration of each experiment, and the effects
OUT/ablation_loss_curves.png     learning curves
OUT/ablation_comparison.png      held-out losses side by side
OUT/wave_ratio_progression.png   the share of wave packets in the embedding over the steps
OUT/cells                        the runs; finished ones are not repeated
"""

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undula.bench.environment import make_records
from undula.bench.records import append_records, json_safe, results_file
from undula.config import to_dict
from undula.experiments.alike import where_it_trains
from undula.experiments.cell import Cell
from undula.experiments.compare import ComparePlan, Comparison, Watch, compare
from undula.experiments.pictures import learning
from undula.experiments.ranking import Row
from undula.experiments.run import read_metrics
from undula.files import write_flushed
from undula.training.annealing import get_annealing_ratio
from undula.training.config import TrainConfig
from undula.viz.comparison import ranked_values, shares
from undula.viz.curves import Learning, learning_curves
from undula.viz.style import png

RESULTS = "ablation_results.json"


@dataclass(frozen=True, kw_only=True)
class Link:
    """What an experiment is held against.

    Args:
        parent: the experiment that it differs from in one factor; None: there is none.
        factor: which one.
    """

    parent: str | None
    factor: str


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a factor brings.

    Args:
        experiment, parent, factor: what was changed, in what.
        difference: mean over seeds of loss - loss of the parent from the same seed, nats per token; negative is better.
        spread: its standard deviation over seeds (n - 1); NaN for one seed.
        seeds: how many.
        verdict: "helps", "hurts", or "not told apart": |difference| is at most twice its standard error.
    """

    experiment: str
    parent: str
    factor: str
    difference: float
    spread: float
    seeds: int
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Ablations:
    """What came of it.

    Args:
        comparison: scores, speeds and audits of all experiments.
        effects: of each experiment whose parent took part.
        files: what was written.
    """

    comparison: Comparison
    effects: tuple[Effect, ...]
    files: tuple[Path, ...]


def ablate(
    configs: Sequence[TrainConfig],
    links: Mapping[str, Link],
    out: Path,
    plan: ComparePlan,
    *,
    results: Path | None = None,
    cache_dir: Path | None = None,
    watch: Watch = lambda _: None,
) -> Ablations:
    """Train all experiments from all seeds and write table, curves and results into a folder, effects to the records.

    Args:
        configs: a run for each experiment.
        links: what each experiment is held against, by name.
        out: the folder.
        plan, results, cache_dir, watch: as in `compare`.

    Raises:
        ValueError: as `compare` does.
    """
    found = compare(configs, out, plan, results=results, cache_dir=cache_dir, watch=watch)
    effects = effects_of(found.cells, links)
    if effects:
        told = {"effects": [dataclasses.asdict(effect) for effect in effects]}
        record = make_records("ablation", [({"title": plan.title}, told)], where_it_trains(configs[0], plan.setting))
        append_records(results_file("ablation", results), record)
    pictures = {
        "ablation_loss_curves.png": learning_curves([_learning(config.name, found) for config in configs]),
        "ablation_comparison.png": ranked_values(
            {row.model: row.losses for row in found.rows}, "Held-out loss (nats per token)"
        ),
        "wave_ratio_progression.png": shares(
            {config.name: packet_shares(config) for config in configs}, "Share of wave packets in the embedding"
        ),
    }
    for name, figure in pictures.items():
        (out / name).write_bytes(png(figure))
    written = json.dumps(json_safe(documented(found.rows, configs, effects)), indent=1, allow_nan=False)
    write_flushed(out / RESULTS, written + "\n")
    return Ablations(comparison=found, effects=effects, files=tuple(out / name for name in (RESULTS, *pictures)))


def effects_of(cells: Sequence[Cell], links: Mapping[str, Link]) -> tuple[Effect, ...]:
    """Return what each factor brings, over the seeds that an experiment and its parent share."""
    losses: dict[str, dict[int, float]] = {}
    for cell in cells:
        losses.setdefault(cell.model, {})[cell.seed] = cell.loss
    effects = []
    for name, link in links.items():
        if name in losses and link.parent in losses:
            ours, theirs = losses[name], losses[link.parent]
            gains = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
            mean, spread = statistics.mean(gains), statistics.stdev(gains) if len(gains) > 1 else math.nan
            told = abs(mean) > 2 * spread / math.sqrt(len(gains))
            verdict = ("helps" if mean < 0 else "hurts") if told else "not told apart"
            effects.append(
                Effect(
                    experiment=name,
                    parent=link.parent,
                    factor=link.factor,
                    difference=mean,
                    spread=spread,
                    seeds=len(gains),
                    verdict=verdict,
                )
            )
    return tuple(effects)


def documented(rows: Sequence[Row], configs: Sequence[TrainConfig], effects: Sequence[Effect]) -> dict[str, Any]:
    """Return the results by experiment: val_loss, perplexity, speed (tokens/s), time (s of training steps), config."""
    by_name = {config.name: config for config in configs}
    held = {effect.experiment: effect for effect in effects}
    results = {}
    for row in rows:
        config = by_name[row.model]
        tokens = config.steps * config.batch_size * config.accumulation * config.data.block_size
        results[row.model] = {
            "val_loss": row.loss,
            "val_loss_spread": row.loss_spread,
            "val_losses": list(row.losses),
            "perplexity": math.exp(min(row.loss, 700.0)),
            "bits_per_byte": row.bits_per_byte,
            "speed": row.tokens_per_second,
            "time": tokens / row.tokens_per_second,
            "parameters": row.parameters,
            "audit": row.audit,
            "effect": dataclasses.asdict(held[row.model]) if row.model in held else None,
            "config": to_dict(config),
        }
    return results


def _learning(name: str, found: Comparison) -> Learning:
    """The curves of an experiment, one for each seed."""
    runs = zip(found.cells, found.folders, strict=True)
    each = [learning(name, read_metrics(folder)) for cell, folder in runs if cell.model == name]
    return Learning(
        label=name,
        train=[curve for one in each for curve in one.train],
        held_out=[curve for one in each for curve in one.held_out],
    )


def packet_shares(config: TrainConfig) -> list[float]:
    """Return the share of wave packets in the embedding at each step of a run."""
    if config.model.family != "wave_gpt" or not config.model.packets.num_waves:
        return [0.0] * config.steps
    if not config.annealing_steps:
        return [1.0] * config.steps
    return [1 - get_annealing_ratio(step, config.annealing_steps) for step in range(config.steps)]
