"""What the verbs do where a run is that of a translator."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from undula.cli.progress import clock
from undula.cli.screen import table, write
from undula.optional import late_import
from undula.training.translation_config import SearchConfig, TranslationTrainConfig

if TYPE_CHECKING:
    from undula.audit.finding import Finding
    from undula.training.translation import TranslationProgress


def outcome(result: Any) -> list[tuple[str, str]]:
    """Return what is printed after training."""
    return [
        ("held-out sentences", f"BLEU {result.validation.bleu:.2f}"),
        ("loss", f"{result.validation.metrics.loss:.4f} nats per token"),
    ]


def evaluate(folder: Path, asked: Any, screen: Console) -> None:
    """Print BLEU and loss on held-out sentences, one row for each way of searching."""
    beams, lengths, coverages = asked.beams, asked.length_penalty, asked.coverage_penalty
    runs = late_import("undula.experiments.translation")
    base = late_import("undula.experiments.folder").read_run(folder, TranslationTrainConfig).search
    searches = runs.grid(
        base, beams or [base.num_beams], lengths or [base.length_penalty], coverages or [base.coverage_penalty]
    )
    scores = runs.evaluate_translation_run(folder, asked.data, searches)
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
    screen.print(table(head, rows, f"{folder}, {asked.data or 'held-out sentences'}"))


def audit(folder: Path) -> Sequence["Finding"]:
    """Return what was measured of a run's model."""
    return late_import("undula.experiments.translation").audit_translation_run(folder)


def generate(folder: Path, asked: Any) -> None:
    """Print the translation of a sentence as it is made."""
    runs = late_import("undula.experiments.translation")
    loaded = runs.load_translator(folder)
    search: SearchConfig = loaded.config.search
    beams = search.num_beams if asked.beams is None else asked.beams
    search = replace(search, max_length=asked.max_new_tokens + 1, num_beams=beams)
    runs.translate(loaded, asked.prompt, search, on_text=write)


def show_alignment(screen: Console, folder: Path, sentence: str, out: str | None) -> None:
    """Draw what each token of a sentence's translation reads into a file."""
    runs = late_import("undula.experiments.translation")
    figure = runs.alignment_picture(runs.load_translator(folder), sentence)
    place = Path(out) if out else folder / "plots"
    place.mkdir(parents=True, exist_ok=True)
    path = place / "alignment.png"
    path.write_bytes(late_import("undula.viz.style").png(figure))
    screen.print(str(path), soft_wrap=True)


def show(screen: Console, folder: Path) -> None:
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
