"""Wave-Native GPT against a transformer of equal size, both tuned alike: same text, tokens, seeds, and equal time."""

from pathlib import Path

from rich.console import Console

from undula.cli.ablate import chosen, equal_sizes, processes, with_arguments
from undula.cli.arguments import parser, split_overrides
from undula.cli.compare import Watched, show_comparison
from undula.cli.main import INTERRUPTED, SUCCESS, UNEXPECTED
from undula.cli.measuring import results_folder
from undula.cli.screen import console, table
from undula.optional import late_import
from undula.recipes.wave_gpt import STANDARD, ablated
from undula.training.config import TrainConfig

CONTESTANT = "full_physics"


def run(arguments: list[str]) -> int:
    """Tune, train, print and record; returns 0 when both models passed their audit, else 1."""
    words, overrides = split_overrides(arguments)
    reader = parser("bench wave-gpt", f"{__doc__} Values of both are changed as in `undula train`.")
    asked = with_arguments(reader, "runs/wave-gpt").parse_args(words)
    base = chosen(asked.model, asked.dataset, asked.protocol, {"steps": asked.steps, **overrides})
    configs = equal_sizes([ablated(name, base) for name in (CONTESTANT, STANDARD)])
    screen, out = console(), Path(asked.out)
    plan = late_import("undula.experiments.compare").ComparePlan(
        title=f"wave-gpt, {asked.model}, {Path(base.data.source).name}",
        seeds=asked.seeds,
        baseline=STANDARD,
        equal_time=True,
        jobs=processes() if asked.parallel else 1,
    )
    results = results_folder(asked)
    try:
        configs = [_tuned(screen, config, out) for config in configs]
        with Watched(screen) as watch:
            found = late_import("undula.experiments.compare").compare(configs, out, plan, results=results, watch=watch)
    except KeyboardInterrupt:
        screen.print("stopped; the same command goes on where it was", soft_wrap=True)
        return INTERRUPTED
    show_comparison(screen, found, plan.title)
    return SUCCESS if all(not cell.failed for cell in found.cells) else UNEXPECTED


def _tuned(screen: Console, config: TrainConfig, out: Path) -> TrainConfig:
    with screen.status(f"tuning {config.name}"):
        best, losses = late_import("undula.experiments.tuning").tuned(config, out / "tuning")
    rows = [(f"{rate:.3g}", loss, rate == best.optim.learning_rate) for rate, loss in losses.items()]
    screen.print(table(("learning rate", "nats per token", "taken"), rows, f"{config.name}, tuned"), "")
    return best
