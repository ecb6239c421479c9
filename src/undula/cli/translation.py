"""What the verbs do where a run is that of a translator."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from undula.cli.main import INTERRUPTED, SUCCESS
from undula.cli.progress import LiveProgress, clock
from undula.cli.screen import table
from undula.cli.sound import how_to_resume
from undula.optional import late_import
from undula.training.translation_config import SearchConfig, TranslationTrainConfig

if TYPE_CHECKING:
    from undula.training.translation import TranslationProgress


def train_translator(config: TranslationTrainConfig, folder: Path, screen: Console, *, resume: bool) -> int:
    """Train a translator into a folder and print what came of it."""
    live = LiveProgress(screen, config.name, news=news, score=score)
    try:
        with live:
            runs = late_import("undula.experiments.translation")
            result = runs.train_translation(config, folder, resume=resume, progress=live)
    except KeyboardInterrupt:
        screen.print(how_to_resume(folder, live.step), soft_wrap=True)
        return INTERRUPTED
    rows = [
        ("held-out sentences", f"BLEU {result.validation.bleu:.2f}"),
        ("loss", f"{result.validation.metrics.loss:.4f} nats per token"),
        ("parameters", f"{result.parameters:,}"),
        ("checkpoint", str(result.checkpoint)),
        ("next", f"undula generate {folder} --prompt '...'"),
    ]
    screen.print(table(("run", str(folder)), rows))
    return SUCCESS


def evaluate_translator(
    folder: Path,
    data: str | None,
    screen: Console,
    beams: list[int] | None,
    lengths: list[float] | None,
    coverages: list[float] | None,
) -> int:
    """Print BLEU and loss on held-out sentences, one row for each way of searching."""
    runs = late_import("undula.experiments.translation")
    base = runs.read_translation_config(folder).search
    searches = runs.grid(
        base, beams or [base.num_beams], lengths or [base.length_penalty], coverages or [base.coverage_penalty]
    )
    scores = runs.evaluate_translation_run(folder, data, searches)
    rows = [
        (
            search.num_beams,
            *(("", "") if search.num_beams == 1 else (search.length_penalty, search.coverage_penalty)),
            f"{scored.bleu:.2f}",
            f"{sum(len(text.split()) for text in scored.translations) / len(scored.translations):.2f}",
            f"{scored.metrics.loss:.4f}",
        )
        for search, scored in zip(searches, scores, strict=True)
    ]
    head = ("beams", "length penalty", "coverage penalty", "BLEU", "words", "nats per token")
    screen.print(table(head, rows, f"{folder}, {data or 'held-out sentences'}"))
    return SUCCESS


def write_translation(folder: Path, sentence: str, max_length: int, beams: int | None) -> int:
    """Print the translation of a sentence as it is made."""
    runs = late_import("undula.experiments.translation")
    loaded = runs.load_translator(folder)
    search: SearchConfig = loaded.config.search
    search = replace(search, max_length=max_length + 1, num_beams=search.num_beams if beams is None else beams)
    runs.translate(loaded, sentence, search, on_text=_write)
    print()
    return SUCCESS


def show_alignment(screen: Console, folder: Path, sentence: str, out: str | None) -> None:
    """Draw what each token of a sentence's translation reads into a file."""
    runs = late_import("undula.experiments.translation")
    figure = runs.alignment_picture(runs.load_translator(folder), sentence)
    place = Path(out) if out else folder / "plots"
    place.mkdir(parents=True, exist_ok=True)
    path = place / "alignment.png"
    path.write_bytes(late_import("undula.viz.style").png(figure))
    screen.print(str(path), soft_wrap=True)


def show_translation_run(screen: Console, folder: Path) -> None:
    """Print the scores of a translator's run."""
    lines = late_import("undula.training.records").read_lines(folder / "metrics.jsonl")
    scores: list[dict[str, Any]] = [line for line in lines if "validation_bleu" in line]
    rows = [(line["step"], f"{line['validation_bleu']:.2f}", f"{line['validation_loss']:.4f}") for line in scores[-10:]]
    head = ("step", "BLEU", "nats per token")
    screen.print(table(head, rows, f"last {len(rows)} of {len(scores)} scores"), "")


def news(progress: "TranslationProgress") -> str:
    """Return loss, speed and time left in one line; before the first, what runs it."""
    if math.isnan(progress.ce):
        return f"on {progress.where}"
    speed = f"{progress.tokens_per_second:,.0f} tokens/s"
    return f"{progress.ce:.3f} nats/token  {speed}  {clock(progress.seconds_left)} left"


def score(progress: "TranslationProgress") -> tuple[float, str]:
    """Return the BLEU of the held-out sentences (NaN before the first), and how to say it."""
    scored = progress.validation
    return scored.bleu, f"held-out sentences BLEU {scored.bleu:.2f}, {scored.metrics.loss:.4f} nats per token"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
