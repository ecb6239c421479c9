"""Train the ablations of Wave-Native GPT, each in one factor apart from another, and say what each factor brings."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser
from rich.console import Console

from undula.cli.arguments import parser, split_overrides
from undula.cli.compare import Watched, show_comparison
from undula.cli.main import INTERRUPTED, SUCCESS, UNEXPECTED
from undula.cli.measuring import add_results, results_folder
from undula.cli.screen import console, table
from undula.optional import late_import
from undula.recipes.changes import changed
from undula.recipes.protocols import PROTOCOLS, with_protocol
from undula.recipes.wave_gpt import ABLATIONS, ALIASES, SIZES, STANDARD, ablated, wave_gpt
from undula.training.config import TrainConfig

if TYPE_CHECKING:
    from undula.experiments.ablate import Effect


def run(arguments: list[str]) -> int:
    """Train, print, draw and record; returns 0 when every model passed its audit, else 1."""
    words, overrides = split_overrides(arguments)
    asked = _reader().parse_args(words)
    names = experiments(asked.experiment)
    base = chosen(asked.model, asked.dataset, asked.protocol, {"steps": asked.steps, **overrides})
    configs = equal_sizes([ablated(name, base) for name in names])
    module, screen = late_import("undula.experiments.ablate"), console()
    links = {name: module.Link(parent=found.parent, factor=found.factor) for name, found in ABLATIONS.items()}
    plan = late_import("undula.experiments.compare").ComparePlan(
        title=f"ablations, {asked.model}, {Path(base.data.source).name}",
        seeds=asked.seeds,
        baseline=STANDARD if STANDARD in names else names[0],
        jobs=processes() if asked.parallel else 1,
    )
    results = results_folder(asked)
    try:
        with Watched(screen) as watch:
            found = module.ablate(configs, links, Path(asked.out), plan, results=results, watch=watch)
    except KeyboardInterrupt:
        screen.print("stopped; the same command goes on where it was", soft_wrap=True)
        return INTERRUPTED
    show_comparison(screen, found.comparison, plan.title)
    _show(screen, found.effects)
    for path in found.files:
        screen.print(f"written: {path}", soft_wrap=True)
    return SUCCESS if all(not cell.failed for cell in found.comparison.cells) else UNEXPECTED


def experiments(asked: list[str]) -> list[str]:
    """Return the experiments that names ask for, once each, in the order of the table; "all" is all of them."""
    wanted = {ALIASES.get(name, name) for name in asked}
    if "all" in wanted:
        return list(ABLATIONS)
    for name in wanted:
        ablated(name, wave_gpt("tiny"))  # says what is wrong with a name
    return [name for name in ABLATIONS if name in wanted]


def chosen(size: str, source: str | None, protocol: str | None, overrides: dict[str, Any]) -> TrainConfig:
    """Return the configuration of `baseline` in a size, on a text, by a protocol, with values changed."""
    given = {key: value for key, value in overrides.items() if value is not None}
    config = wave_gpt(size)
    if protocol is not None:
        config = with_protocol(config, protocol, source)
    elif source is not None:
        config = changed(config, {"data.source": source})
    return changed(config, given)


def equal_sizes(configs: list[TrainConfig]) -> list[TrainConfig]:
    """Return the runs with feed-forwards that give all models as many parameters as the first."""
    size = late_import("undula.models.size")
    vocabulary = late_import("undula.data.build").prepare(configs[0].data).vocab_size
    models = [dataclasses.replace(config.model, vocab_size=vocabulary) for config in configs]
    wanted = size.parameter_count(models[0])
    return [
        dataclasses.replace(config, model=size.of_size(model, wanted))
        for config, model in zip(configs, models, strict=True)
    ]


def _reader() -> ArgumentParser:
    reader = parser("ablate", f"{__doc__} Values of all of them are changed as in `undula train`: data.tokenizer=bpe.")
    reader.add_argument(
        "--experiment", nargs="+", type=str, default=["all"], help=f"all, or some of {', '.join(ABLATIONS)}"
    )
    return with_arguments(reader, "runs/ablate")


def with_arguments(reader: ArgumentParser, out: str) -> ArgumentParser:
    """Add what all comparisons of Wave-Native GPT are asked.

    Args:
        reader: of the verb.
        out: the folder where none is given.
    """
    reader.add_argument("--model", type=str, default="small", help=f"size: {', '.join(SIZES)}")
    reader.add_argument("--dataset", type=str, help="python-docs, fineweb, or a text file or folder (as data.source)")
    reader.add_argument("--protocol", type=str, help=f"how to measure: {', '.join(PROTOCOLS)}")
    reader.add_argument("--steps", type=int, help="of each run")
    reader.add_argument("--seeds", type=int, default=3, help="runs of each model")
    reader.add_argument("--parallel", action="store_true", help="one process for each GPU, or for each core")
    reader.add_argument("--out", type=str, default=out, help="finished runs there are not repeated")
    add_results(reader)
    return reader


def processes() -> int:
    """Return how many runs train at once: one for each GPU, or for each core."""
    gpus = late_import("torch").cuda.device_count()
    return gpus or late_import("undula.bench.environment").usable_cores()


def _show(screen: Console, effects: "tuple[Effect, ...]") -> None:
    rows = [
        (effect.experiment, effect.factor, effect.parent, _difference(effect), effect.verdict, _what(effect))
        for effect in effects
    ]
    head = ("experiment", "factor", "against", "nats per token", "verdict", "what it is")
    screen.print(table(head, rows, "what each factor brings"), "")


def _difference(effect: "Effect") -> str:
    spread = "" if math.isnan(effect.spread) else f" ± {effect.spread:.4f}"
    return f"{effect.difference:+.4f}{spread}"


def _what(effect: "Effect") -> str:
    return ABLATIONS[effect.experiment].what
