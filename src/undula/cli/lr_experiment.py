"""Ask whether another learning rate or schedule helps: train both arms alike, from several seeds, and judge."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from undula.cli.arguments import parser, split_overrides
from undula.cli.compare import Watched
from undula.cli.main import INTERRUPTED, SUCCESS
from undula.cli.measuring import add_results, results_folder
from undula.cli.screen import console, table
from undula.cli.spectral_flags import add_model_flags, spectral_run
from undula.optional import late_import
from undula.recipes.changes import changed
from undula.recipes.spectral_llm import trained_as
from undula.training.config import TrainConfig

SCHEDULE = ("learning_rate", "min_lr_ratio", "warmup_steps")
"""What the arms differ in; of the baseline with `baseline_` before it."""
TENTH = 10
"""Share of the steps that warm up, where nothing is said."""


def run(arguments: list[str]) -> int:
    """Train, judge, print and write; returns 0 whatever the verdict is."""
    words, overrides = split_overrides(arguments)
    asked = _reader().parse_args(words)
    module, screen = late_import("undula.experiments.lr_experiment"), console()
    arms = [arm(asked, overrides, side, module) for side in ("baseline_", "")]
    try:
        with Watched(screen) as watch:
            found = module.lr_experiment(
                *arms,
                Path(asked.out),
                seeds=asked.seeds,
                target_perplexity=asked.target_perplexity,
                results=results_folder(asked),
                watch=watch,
            )
    except KeyboardInterrupt:
        screen.print("stopped; the same command goes on where it was", soft_wrap=True)
        return INTERRUPTED
    head = ("arm", "learning rate", "warm-up", "nats per token", "perplexity", f"step <= {asked.target_perplexity}")
    screen.print(table(head, module.summary(found), f"{asked.seeds} seeds of {arms[0].steps} steps"))
    screen.print(f"{found.verdict}: {found.reason}", style="bold", soft_wrap=True)
    for path in found.files:
        screen.print(f"written: {path}", soft_wrap=True)
    return SUCCESS


def _reader() -> ArgumentParser:
    reader = parser("lr-experiment", f"{__doc__} Values of both are changed as in `undula train`: steps=500.")
    reader.add_argument("--recipe", type=str, help="what is trained (default: spectral_llm)")
    reader.add_argument("--learning_rate", type=float, default=2e-4, help="the peak of the changed arm")
    reader.add_argument("--min_lr_ratio", type=float, default=0.1, help="its end, as a share of the peak; 1: constant")
    reader.add_argument("--warmup_steps", type=int, help="of it (default: a tenth of the steps)")
    reader.add_argument("--baseline_learning_rate", type=float, default=1e-6, help="the peak of the baseline")
    reader.add_argument("--baseline_min_lr_ratio", type=float, help="its end (default: as the changed arm's)")
    reader.add_argument("--baseline_warmup_steps", type=int, help="of it (default: as the changed arm's)")
    reader.add_argument(
        "--target_perplexity", type=float, default=5.0, help="tell when each run was as good, per token"
    )
    reader.add_argument("--epochs", type=float, help="passes over the text (default: 1, unless steps=N says more)")
    reader.add_argument("--seeds", type=int, default=3, help="runs of each arm")
    reader.add_argument("--dataset_path", type=str, help="the text (default: the recipe's)")
    reader.add_argument("--vocab_size", type=int, help="ids of a BPE tokenizer (default: the recipe's tokenizer)")
    reader.add_argument("--seq_length", type=int, help="tokens of a window (default: the recipe's)")
    reader.add_argument("--batch_size", type=int, help="windows in a step (default: the recipe's)")
    reader.add_argument("--weight_decay", type=float, help="of both arms (default: the recipe's)")
    reader.add_argument("--use_mps", action="store_true", help="refuse to run without Apple's GPU")
    reader.add_argument(
        "--out", "--output_dir", type=str, default="runs/lr_experiment", help="finished runs there are not repeated"
    )
    add_results(reader)
    add_model_flags(reader)
    return reader


def arm(asked: Any, overrides: dict[str, Any], side: str, module: Any) -> TrainConfig:
    """Return the run of an arm: `side` is "baseline_", or nothing for the changed one.

    Raises:
        ValueError: for values that contradict each other, or a warm-up that does not end.
    """
    strange = [key for key in overrides if key.startswith("optim.") and key.split(".")[1] in RATES]
    if strange:
        raise ValueError(
            f"{strange[0]} is what the arms differ in; give --learning_rate, --baseline_learning_rate, ..."
        )
    if asked.use_mps and not late_import("torch").backends.mps.is_available():
        raise ValueError("--use_mps, and this machine has no Apple GPU that torch knows; leave it out")
    if asked.epochs is not None and "steps" in overrides:
        raise ValueError("--epochs and steps= both say how long; leave one out")
    training = {name: getattr(asked, name) for name in ("weight_decay", "batch_size", "seq_length")}
    changes = {} if asked.dataset_path is None else {"data.source": asked.dataset_path}
    if asked.vocab_size is not None:
        changes |= {"data.tokenizer": "bpe", "data.vocab_size": asked.vocab_size}
    config = changed(spectral_run(asked, asked.recipe, training), changes | overrides)
    passes = 1.0 if asked.epochs is None else asked.epochs
    config = module.scored_often(config) if "steps" in overrides else module.epochs_of(config, passes)
    said = {name: _said(asked, side, name) for name in SCHEDULE}
    warm = config.steps // TENTH if said["warmup_steps"] is None else said["warmup_steps"]
    if warm >= config.steps:
        raise ValueError(f"{side}warmup_steps={warm} of {config.steps} steps never ends; lower it, or train longer")
    return trained_as(config, {**said, "warmup_steps": warm})


RATES = ("learning_rate", "min_learning_rate", "warmup_steps")


def _said(asked: Any, side: str, name: str) -> Any:
    """The value of an arm; of the baseline the changed one's where it has none of its own."""
    own = getattr(asked, side + name)
    return getattr(asked, name) if own is None else own
