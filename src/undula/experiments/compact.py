"""Compacted models beside those of full width: trained a little longer, scored, and timed."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from undula.bench.environment import Config, make_records, now
from undula.bench.harness import Contestant, interleaved, measuring, speedup
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.data.build import Prepared, prepare
from undula.data.synthetic import joined
from undula.experiments.folder import check_data, train_into
from undula.experiments.run import Run, load_run
from undula.hf.compact import compact
from undula.models.config import ModelConfig
from undula.training.config import CurriculumConfig, TrainConfig
from undula.training.state import kept_rng
from undula.training.text import TextTask
from undula.validation.evaluate import evaluate

OTHER_WINDOWS = 1000
"""Added to a run's seed: what is trained on last are other random windows of the same text."""
LAST_RATE = 0.01
"""Learning rate at the end, over the one at the start."""


def bench_compacted(
    runs: Sequence[Path], wholes: Sequence[Path], out: Path, steps: int, learning_rate: float, setting: BenchSetting
) -> Iterator[Record]:
    """Give a record for each run: what compacting its model costs in loss, and saves in parameters and time.

    Args:
        runs: folders of runs with a selector; several of one model are its seeds.
        wholes: for each the run of a model of full width, on the same text.
        out: folder of the compacted models' runs, which can be used as any other.
        steps: that a compacted model is trained for; the batches are the run's in size.
        learning_rate: at the start of these; it falls along a cosine.
        setting: how times are measured, of a pass forward and backward over one batch.

    Raises:
        FileNotFoundError: when a folder is no run, or has no checkpoint.
        ValueError: for unequal numbers of folders, a model that cannot be compacted, other texts, or a compacted run
            that is there already.
    """
    if len(runs) != len(wholes):
        raise ValueError(f"got {len(runs)} runs and {len(wholes)} of full width; give one for each")
    date = now()
    with measuring(setting), kept_rng():
        for folder, other in zip(runs, wholes, strict=True):
            measured = _measured(load_run(folder), load_run(other), out, steps, learning_rate, setting)
            yield from make_records("compact", [measured], setting, date=date)


def _measured(
    run: Run, whole: Run, out: Path, steps: int, learning_rate: float, setting: BenchSetting
) -> tuple[Config, Config]:
    prepared = prepare(run.config.data)
    for each in (run, whole):
        check_data(each.checkpoint, prepared.fingerprint)
    small = compact(run.model)
    config = _shorter(run.config, small.config.model_config, steps, learning_rate)
    losses = {"loss_whole": whole.model, "loss_uncut": run.model, "loss_cut": small}
    figures: Config = {name: _loss(model, config, prepared) for name, model in losses.items()}
    torch.manual_seed(config.seed)
    folder = out / f"{config.name}-{run.config.seed}"
    result = train_into(folder, config, small, TextTask(small, config, prepared), resume=False, progress=None)
    figures["loss"] = result.validation.loss
    models: dict[str, nn.Module] = {"whole": whole.model, "compacted": small}
    windows = prepared.train_windows(seed=config.seed, length=config.batch_size)
    batch = joined(windows[i] for i in range(config.batch_size))
    times = interleaved({name: Contestant(_training_pass(m, batch)) for name, m in models.items()}, setting)
    for name, model in models.items():
        figures |= {f"{name}_{key}": value for key, value in times[name].figures().items()}
        figures[f"{name}_parameters"] = sum(p.numel() for p in model.parameters())
    figures["ratio"] = speedup(times["compacted"], times["whole"])
    what = {
        "case": f"{run.config.name} of {whole.config.name}",
        "model": run.config.name,
        "whole": whole.config.name,
        "seed": run.config.seed,
        "steps": steps,
        "of_steps": run.config.steps,
        "learning_rate": learning_rate,
    }
    return what, figures


def _shorter(config: TrainConfig, model: ModelConfig, steps: int, learning_rate: float) -> TrainConfig:
    """The configuration of the last steps."""
    rates = {"learning_rate": learning_rate, "min_learning_rate": LAST_RATE * learning_rate, "warmup_steps": 0}
    return dataclasses.replace(
        config,
        name=f"{config.name}-compacted",
        model=model,
        optim=dataclasses.replace(config.optim, **rates),
        seed=config.seed + OTHER_WINDOWS,
        steps=steps,
        eval_every=steps,
        save_every=steps,
        settling=0.0,
        curriculum=CurriculumConfig(),
    )


def _loss(model: nn.Module, config: TrainConfig, prepared: Prepared) -> float:
    return evaluate(model, prepared.eval_windows(), config.eval_batch_size, config.piece).loss


def _training_pass(model: nn.Module, batch: dict[str, Tensor]) -> Callable[[], None]:
    model.train()

    def run() -> None:
        model.zero_grad()
        model(**batch).loss.backward()

    return run
