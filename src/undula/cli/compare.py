"""Train recipes on identical batches: language models are audited, and ranked if they pass; others are scored."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console

from undula.cli.arguments import parser, split_overrides
from undula.cli.kinds import KINDS, Kind
from undula.cli.main import INTERRUPTED, SUCCESS, UNEXPECTED
from undula.cli.measuring import add_results, results_folder
from undula.cli.progress import LiveProgress
from undula.cli.screen import console, table
from undula.optional import late_import
from undula.recipes.catalogue import RECIPES
from undula.recipes.changes import changed
from undula.recipes.protocols import PROTOCOLS, with_protocol
from undula.recipes.recognition import RECOGNITION_RECIPES
from undula.recipes.translation import TRANSLATION_RECIPES
from undula.training.config import TrainConfig
from undula.training.recognition_config import RECOGNITION
from undula.training.translation_config import TRANSLATION

if TYPE_CHECKING:
    from undula.experiments.compare import Comparison
    from undula.experiments.compare_scored import ScoredComparison
    from undula.experiments.ranking import Row


def run(arguments: list[str]) -> int:
    """Compare, print and record; returns 0 when every model passed its audit, else 1."""
    words, overrides = split_overrides(arguments)
    reader = parser("compare", f"{__doc__} Values of all of them are changed as in `undula train`: steps=500.")
    reader.add_argument(
        "recipes",
        nargs="+",
        type=str,
        help=f"of {', '.join(RECIPES)}; or of {', '.join(RECOGNITION_RECIPES)}; or of {', '.join(TRANSLATION_RECIPES)}",
    )
    reader.add_argument("--seeds", type=int, default=3, help="runs of each recipe")
    reader.add_argument(
        "--protocol", type=str, help=f"how to measure: {', '.join(PROTOCOLS)} (default: the recipes' own)"
    )
    reader.add_argument("--data", type=str, help="a text file or folder (default: the recipes' own)")
    reader.add_argument("--baseline", type=str, help="what ratios are against (default: attention_lm, else the first)")
    reader.add_argument("--equal-time", action="store_true", help="train each recipe also for the baseline's time")
    reader.add_argument("--jobs", type=int, default=1, help="processes that train, one thread each")
    reader.add_argument("--title", type=str, help="what tables call it (default: protocol, data and changed values)")
    reader.add_argument("--out", type=str, default="runs/compare", help="finished runs there are not repeated")
    add_results(reader)
    asked = reader.parse_args(words)
    for kind in (KINDS[RECOGNITION], KINDS[TRANSLATION]):
        if asked.recipes[0] in kind.recipes:
            return compare_scored(kind, asked, overrides)
    configs = [chosen(name, asked.protocol, asked.data, overrides) for name in asked.recipes]
    module, screen = late_import("undula.experiments.compare"), console()
    plan = module.ComparePlan(
        title=asked.title or _title((asked.protocol, Path(configs[0].data.source).name), overrides),
        seeds=asked.seeds,
        baseline=asked.baseline,
        equal_time=asked.equal_time,
        jobs=asked.jobs,
    )
    results = results_folder(asked)
    try:
        with Watched(screen) as watch:
            found = module.compare(configs, Path(asked.out), plan, results=results, watch=watch)
    except KeyboardInterrupt:
        screen.print("stopped; the same command goes on where it was", soft_wrap=True)
        return INTERRUPTED
    show_comparison(screen, found, plan.title)
    return SUCCESS if all(not cell.failed for cell in found.cells) else UNEXPECTED


def compare_scored(kind: Kind, asked: Any, overrides: dict[str, Any]) -> int:
    """Compare recognisers or translators by their own scores, print and record; returns the exit code."""
    beyond = [name for name in ("protocol", "baseline", "equal_time") if getattr(asked, name)]
    if beyond:
        raise ValueError(f"--{beyond[0].replace('_', '-')} is of language models alone; leave it out")
    changes = overrides if asked.data is None else {kind.place: asked.data, **overrides}
    configs = [changed(kind.recipes[name](), changes) for name in asked.recipes]
    screen, module = console(), late_import("undula.experiments.compare_scored")
    results = results_folder(asked)
    source = Path(changes[kind.place]).name if kind.place in changes else None
    title = asked.title or _title((configs[0].name, source), overrides)
    try:
        with Watched(screen, {"news": kind.news, "score": kind.score}) as watch:
            found = module.compare_scored(
                configs, Path(asked.out), seeds=asked.seeds, jobs=asked.jobs, title=title, results=results, watch=watch
            )
    except KeyboardInterrupt:
        screen.print("stopped; the same command goes on where it was", soft_wrap=True)
        return INTERRUPTED
    show_scored(screen, found)
    return SUCCESS


def show_scored(screen: Console, found: "ScoredComparison") -> None:
    """Print the table of a comparison, its warnings, and where the records are."""
    keys = list(found.rows[0].scores)
    rows = [
        (
            row.model,
            row.seeds,
            row.parameters,
            *(_with_spread(row.scores[key], row.spreads[key]) for key in keys),
            round(row.seconds),
        )
        for row in found.rows
    ]
    screen.print(table(("model", "seeds", "parameters", *keys, "training seconds"), rows, found.title))
    for line in found.warnings:
        screen.print(line, style="yellow", soft_wrap=True)
    screen.print(f"records added to {found.results}", soft_wrap=True)


def chosen(recipe: str, protocol: str | None, data: str | None, overrides: dict[str, Any]) -> TrainConfig:
    """Return a recipe's configuration as it is to be compared."""
    config = RECIPES[recipe]()
    if protocol is not None:
        config = with_protocol(config, protocol, data)
    elif data is not None:
        config = changed(config, {"data.source": data})
    return changed(config, overrides)


class Watched:
    """A live display for each run in turn; use it as a context, so that the last one is closed.

    Args:
        screen: where to draw.
        said: how runs are told of, as `LiveProgress` takes it.
    """

    def __init__(self, screen: Console, said: Mapping[str, Any] | None = None) -> None:
        self.screen, self.said = screen, said or {}
        self.live: LiveProgress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.__exit__(kind, error, trace)

    def __call__(self, cell: Any) -> LiveProgress:
        """End the display of the cell before, and begin one."""
        self.__exit__(None, None, None)
        config = getattr(cell, "config", cell)
        label = f"{config.name}, seed {config.seed}, {config.steps} steps"
        self.live = LiveProgress(self.screen, label, **self.said)
        return self.live.__enter__()


def _title(words: Sequence[str | None], overrides: dict[str, Any]) -> str:
    """What the comparison is called in tables: words, and values that were changed but for a place on a disk."""
    places = {kind.place for kind in KINDS.values()}
    changes = (f"{key}={value}" for key, value in overrides.items() if key not in places)
    return ", ".join([*filter(None, words), *changes])


def show_comparison(screen: Console, found: "Comparison", title: str) -> None:
    """Print the table of a comparison, its warnings, and where the records are."""
    head = ("", "model", "budget", "steps", "parameters", "nats per token", "bits per byte", "against baseline")
    head += ("tokens/s", "x", "peak MB", "audit")
    screen.print(table(head, [_cells(row) for row in found.rows], title))
    for line in (*found.warnings, *(f"{row.model} is not ranked: it {row.reason}" for row in found.rows if row.reason)):
        screen.print(line, style="yellow", soft_wrap=True)
    screen.print(f"records added to {found.results}", soft_wrap=True)


def _cells(row: "Row") -> tuple[object, ...]:
    return (
        "-" if row.rank is None else str(row.rank),
        row.model,
        row.budget,
        row.steps,
        row.parameters,
        _with_spread(row.loss, row.loss_spread),
        _with_spread(row.bits_per_byte, row.bits_per_byte_spread),
        "" if math.isnan(row.against_baseline) else f"{row.against_baseline:+.2%}",
        round(row.tokens_per_second),
        f"{row.speed_ratio:.2f}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:,.0f}",
        row.audit,
    )


def _with_spread(value: float, spread: float) -> str:
    return f"{value:.4f}" + ("" if math.isnan(spread) else f" ± {spread:.4f}")
