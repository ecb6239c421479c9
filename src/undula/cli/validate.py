"""Check a trained model, its text and its training in one report with a score; or check the checks."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from undula.cli.arguments import parser, split_overrides
from undula.cli.audit import VERDICTS
from undula.cli.kinds import train
from undula.cli.main import SUCCESS, UNEXPECTED
from undula.cli.screen import console, table
from undula.cli.spectral_flags import add_model_flags, given, spectral_run
from undula.optional import late_import
from undula.recipes.changes import changed
from undula.recipes.spectral_llm import ANALYSED
from undula.training.config import TrainConfig

if TYPE_CHECKING:
    from undula.validation.report import Report

REPORT, CONFIG = "comprehensive_validation_results.json", "config.json"
TRAINING = ("dataset_path", "vocab_size", "learning_rate", "weight_decay")
"""Flags that say how a recipe is trained, and nothing else."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def run(arguments: list[str]) -> int:
    """Print the report and write it; returns 0 when it passed, with warnings or without, else 1."""
    words, overrides = split_overrides(arguments)
    reader = parser("validate", f"{__doc__} Give a run, or a recipe (or a model's flags) that is trained first.")
    reader.add_argument("run", nargs="?", type=str, help="folder of a run")
    reader.add_argument("--recipe", type=str, help="train this recipe first; key=value changes it")
    reader.add_argument(
        "--out", "--output_dir", type=str, help="folder of the report, and of a recipe's run (default: RUN/validation)"
    )
    reader.add_argument("--dataset_path", type=str, help="of a recipe: the text to train on")
    reader.add_argument("--vocab_size", type=int, help="of a recipe: ids of a BPE tokenizer")
    reader.add_argument("--seq_length", type=int, help="tokens of a window (default: the run's)")
    reader.add_argument("--batch_size", type=int, help="windows in one forward pass, of a recipe's training, too")
    reader.add_argument("--learning_rate", type=float, help="of a recipe: the peak")
    reader.add_argument("--weight_decay", type=float, help="of a recipe: on matrices alone")
    reader.add_argument(
        "--overlap_check_samples", type=int, help="held-out windows looked for in training (default: all)"
    )
    reader.add_argument("--baseline_steps", type=int, default=0, help="batches baselines are trained on (0: none)")
    reader.add_argument("--log_level", type=str, default="INFO", help=f"one of {', '.join(LEVELS)}")
    reader.add_argument("--self_test", action="store_true", help="plant each known defect and see that it is caught")
    add_model_flags(reader)
    asked = reader.parse_args(words)
    if asked.log_level not in LEVELS:
        raise ValueError(f"log_level={asked.log_level}; wanted one of {', '.join(LEVELS)}")
    logging.getLogger("undula").setLevel(asked.log_level)
    flags = given(asked)
    trains = asked.recipe is not None or (asked.run is None and bool(flags))
    if not asked.self_test and (asked.run is None) != trains:
        raise ValueError("give the folder of a run, or --recipe NAME --out FOLDER, or --self_test")
    if asked.self_test:
        return _self_test(asked, overrides, console())
    return _validated(asked, overrides, console())


def _validated(asked: Any, overrides: dict[str, Any], screen: Console) -> int:
    folder = _run_folder(asked, overrides, screen)
    module = late_import("undula.experiments.validate")
    options = module.Options(
        batch_size=module.Options.batch_size if asked.batch_size is None else asked.batch_size,
        seq_length=asked.seq_length,
        overlap_check_samples=asked.overlap_check_samples,
        baseline_steps=asked.baseline_steps,
        gap_windows=ANALYSED if asked.spectral_gap_analysis else 0,
    )
    with screen.status("checking"):
        report = module.validate_run(folder, options)
    path = Path(asked.out or folder / "validation") / REPORT
    report.save(path)
    _show(report, str(folder), screen)
    screen.print(f"written to {path}", soft_wrap=True)
    return UNEXPECTED if report.verdict == "FAILED" else SUCCESS


def _run_folder(asked: Any, overrides: dict[str, Any], screen: Console) -> Path:
    """The run to check; of a recipe, trained first, or gone on with where it was stopped."""
    if asked.run is not None:
        named = [name for name in TRAINING if getattr(asked, name) is not None]
        described = [name for name in given(asked) if name != "spectral_gap_analysis"]
        if named or described or overrides:
            changed_values = ", ".join([*named, *described, *overrides])
            raise ValueError(f"{changed_values}: a run is checked as it is; leave out, or take --recipe")
        return Path(asked.run)
    if asked.out is None:
        raise ValueError("a recipe is trained into a run; say where with --out FOLDER")
    folder = Path(asked.out) / "run"
    if train(_configured(asked, overrides), folder, screen, resume=(folder / CONFIG).is_file()) != SUCCESS:
        # It has said how to go on; half a model is not checked.
        raise KeyboardInterrupt
    return folder


def _configured(asked: Any, overrides: dict[str, Any]) -> TrainConfig:
    changes: dict[str, Any] = {}
    if asked.dataset_path is not None:
        changes["data.source"] = asked.dataset_path
    if asked.vocab_size is not None:
        changes |= {"data.tokenizer": "bpe", "data.vocab_size": asked.vocab_size}
    training = {name: getattr(asked, name) for name in ("learning_rate", "weight_decay", "batch_size", "seq_length")}
    return changed(spectral_run(asked, asked.recipe, training), changes | overrides)


def _self_test(asked: Any, overrides: dict[str, Any], screen: Console) -> int:
    if asked.run is not None or asked.recipe is not None or given(asked):
        raise ValueError("--self_test checks the checks, not a model; leave out the run, the recipe and its flags")
    config = _configured(asked, overrides)
    prepared = late_import("undula.data.build").prepare(config.data)
    with screen.status("planting defects"):
        found = late_import("undula.experiments.planted").self_test(prepared)
    rows = [(VERDICTS[planted.caught], planted.defect, planted.check) for planted in found]
    screen.print(table(("", "planted defect", "caught by"), rows, "self-test"))
    missed = [planted.defect for planted in found if not planted.caught]
    screen.print(f"not caught: {', '.join(missed)}" if missed else f"all {len(found)} caught", style="bold")
    return UNEXPECTED if missed else SUCCESS


def _show(report: "Report", title: str, screen: Console) -> None:
    rows = [
        (VERDICTS[c.passed], c.name, c.severity, f"{c.value:.3g}", f"{c.threshold:.3g}", c.evidence)
        for c in report.checks
    ]
    screen.print(table(("", "check", "severity", "measured", "limit", "how"), rows, title))
    if report.critical:
        screen.print(f"critical: {', '.join(c.name for c in report.critical)}", style="bold red")
    if report.not_run:
        screen.print(f"not run: {', '.join(c.name for c in report.not_run)}")
    for line in report.recommendations:
        screen.print(line, soft_wrap=True)
    screen.print(f"{report.score:.1f} of 100: {report.verdict}", style="bold")
