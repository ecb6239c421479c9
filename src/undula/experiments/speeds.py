"""What a training takes a step, models of a comparison measured in turns; phases that cost less count as they last."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from undula.bench.harness import Timing, speedup
from undula.bench.records import json_safe
from undula.bench.setting import BenchSetting
from undula.bench.train import StepFigures, StepPlan, flat_figures, measure_steps
from undula.config import to_dict
from undula.experiments.cell import digest
from undula.files import write_flushed
from undula.models.reduction import SLICES, slices_within
from undula.training.config import TrainConfig
from undula.training.curriculum import Curriculum

Phase = tuple[float, StepPlan]
"""A share of a run's steps, and what these are."""


def measured_speeds(
    configs: Sequence[TrainConfig], out: Path, setting: BenchSetting, baseline: str
) -> dict[str, dict[str, Any]]:
    """Return what train steps of each model take, measured in turns; read from `out` when they were measured before.

    Kept, because the number of steps in equal time follows from it and must not change when a comparison goes on.
    """
    runs = {config.name: phases(config) for config in configs}
    asked = {name: [(share, to_dict(plan)) for share, plan in steps] for name, steps in runs.items()}
    path = out / f"speed-{digest(asked, to_dict(setting), baseline)}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    plans = {f"{name}, phase {i}": plan for name, steps in runs.items() for i, (_, plan) in enumerate(steps)}
    found = measure_steps(plans, setting)
    means = {
        name: _mean([(share, found[f"{name}, phase {i}"]) for i, (share, _) in enumerate(steps)], steps[0][1])
        for name, steps in runs.items()
    }
    base = means[baseline].timing
    speeds = {name: {**flat_figures(mean), "ratio": speedup(mean.timing, base)} for name, mean in means.items()}
    out.mkdir(parents=True, exist_ok=True)
    write_flushed(path, json.dumps(json_safe(speeds), indent=1) + "\n")
    return speeds


def equal_time(config: TrainConfig, speeds: Mapping[str, Mapping[str, Any]]) -> TrainConfig:
    """Return a run of as many steps as fit into the time of the baseline's, with a whole schedule of its own."""
    return dataclasses.replace(config, steps=max(1, round(config.steps * speeds[config.name]["ratio"])))


def phases(config: TrainConfig) -> list[Phase]:
    """Return the phases of a run whose steps differ in cost: before and after settling, and each slice of a curriculum.

    A curriculum counts as planned: what held-out losses will delay is not known beforehand.
    """
    plan = StepPlan(
        model=config.model,
        batch_size=config.batch_size,
        block_size=config.data.block_size,
        optim=config.optim,
        loss=config.loss,
    )
    if config.settling:
        return [(config.settling, plan), (1 - config.settling, dataclasses.replace(plan, settled=True))]
    if config.model.freq_limit != "slice" or not config.curriculum.share:
        return [(1.0, plan)]
    schedule = Curriculum(config.curriculum, config.steps).schedule
    slices = (slices_within(schedule.get_freq_limit(step)) for step in range(config.steps))
    return [
        (len(list(steps)) / config.steps, dataclasses.replace(plan, freq_limit=number / SLICES))
        for number, steps in itertools.groupby(slices)
    ]


def _mean(steps: Sequence[tuple[float, StepFigures]], plan: StepPlan) -> StepFigures:
    """The figures of a mean step, round by round; the peak of memory is that of the largest."""

    def over_phases(clock: str) -> tuple[float, ...]:
        seconds = [[share * second for second in getattr(found.timing, clock)] for share, found in steps]
        return tuple(sum(parts) for parts in zip(*seconds, strict=True))

    timing = Timing(wall=over_phases("wall"), cpu=over_phases("cpu"))
    peaks = [found.peak_bytes for _, found in steps if found.peak_bytes is not None]
    return StepFigures(
        timing=timing,
        tokens_per_second=plan.batch_size * plan.block_size / timing.median,
        parameters=steps[0][1].parameters,
        peak_bytes=max(peaks, default=None),
    )
