"""Train a Wave Transformer and a plain transformer of equal size, audit both, and draw everything in one report."""

import time
from pathlib import Path

from rich.console import Console

from undula.cli.arguments import parser, split_overrides
from undula.cli.audit import findings_table
from undula.cli.main import INTERRUPTED, SUCCESS, UNEXPECTED
from undula.cli.progress import LiveProgress, clock
from undula.cli.screen import console
from undula.optional import late_import
from undula.recipes.catalogue import DEFAULT, RECIPES
from undula.recipes.changes import changed
from undula.training.config import TrainConfig

BASELINE = "attention_lm"
PROMPT = "The statement "
LENGTH = 400
"""Tokens that each of them adds."""
REPORT = "report.html"


def run(arguments: list[str]) -> int:
    """Run the demonstration; returns 0 when both models pass their audit, else 1.

    Where `--out` holds a demonstration that was stopped, it goes on.
    """
    words, overrides = split_overrides(arguments)
    reader = parser("demo", f"{__doc__} Values of both models are changed as in `undula train`: undula demo steps=100")
    reader.add_argument(
        "--out", type=str, default="runs/demo", help="folder of the model's run; the baseline lies below it"
    )
    reader.add_argument("--prompt", type=str, default=PROMPT, help="what both models continue")
    asked = reader.parse_args(words)
    out, screen, started = Path(asked.out), console(), time.monotonic()
    folders = {out: changed(RECIPES[DEFAULT](), overrides), out / "baseline": changed(RECIPES[BASELINE](), overrides)}
    for number, (folder, config) in enumerate(folders.items(), 1):
        screen.print(
            f"[bold]{number}/{len(folders)} training {config.name} on {config.data.source}, into {folder}[/bold]"
        )
        if not _trained(screen, config, folder):
            screen.print(f"stopped; go on with: undula demo --out {out}", soft_wrap=True)
            return INTERRUPTED
    passed = _report(screen, list(folders), str(asked.prompt), out / REPORT)
    screen.print(f"{out / REPORT} is ready, after {clock(time.monotonic() - started)}", style="bold", soft_wrap=True)
    return SUCCESS if passed else UNEXPECTED


def _trained(screen: Console, config: TrainConfig, folder: Path) -> bool:
    """Train, or go on; False when Ctrl-C stopped it."""
    runs = late_import("undula.experiments.run")
    try:
        with LiveProgress(screen, config.name) as live:
            runs.train_run(config, folder, resume=(folder / "config.json").exists(), progress=live)
    except KeyboardInterrupt:
        return False
    return True


def _report(screen: Console, folders: list[Path], prompt: str, path: Path) -> bool:
    """Audit and sample the models, write the report and print what it says; False when an audit failed."""
    report, sample = late_import("undula.experiments.report"), late_import("undula.experiments.sample")
    models = []
    for folder in folders:
        with screen.status(f"auditing {folder}"):
            models.append(report.examine(folder, prompt, sample.Sampling(max_new_tokens=LENGTH)))
        screen.print(findings_table(models[-1].findings, f"audit of {models[-1].name}"), "")
    screen.print(f"[bold]{models[0].name} continues[/bold]")
    screen.print(models[0].prompt + models[0].continued, "", markup=False, soft_wrap=True)
    screen.print(report.verdict(models), style="bold")
    with screen.status("drawing the report"):
        report.write_report(models, path, "undula: waves against attention")
    return all(finding.passed is not False for model in models for finding in model.findings)
