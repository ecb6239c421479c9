"""What the verbs do where a run is that of a language model."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from undula.cli.arguments import parsed_length
from undula.cli.screen import table, write
from undula.optional import late_import

if TYPE_CHECKING:
    from undula.audit.finding import Finding


def outcome(result: Any) -> list[tuple[str, str]]:
    """Return what is printed after training."""
    score = result.validation
    return [
        ("held-out text", f"{score.bits_per_byte:.4f} bits per byte, {score.loss:.4f} nats per token"),
        ("perplexity", f"{score.perplexity:.2f} per token"),
    ]


def evaluate(folder: Path, asked: Any, screen: Console) -> None:
    """Print the score of a run's model on its held-out text, or on another."""
    length = None if asked.length is None else parsed_length(asked.length)
    evaluate_run = late_import("undula.experiments.run").evaluate_run
    score = evaluate_run(folder, asked.data, length=length, piece=asked.piece)
    rows = [
        ("bits per byte", f"{score.bits_per_byte:.4f}"),
        ("loss", f"{score.loss:.4f} nats per token"),
        ("perplexity", f"{score.perplexity:.3f} per token"),
        ("predicted", f"{score.num_tokens:,} tokens, {score.num_bytes:,} bytes"),
    ]
    screen.print(table((str(folder), asked.data or "held-out text"), rows))


def audit(folder: Path) -> Sequence["Finding"]:
    """Return what was measured of a run's model."""
    loaded = late_import("undula.experiments.run").load_run(folder)
    return late_import("undula.audit.run").audit_language_model(loaded.model)


def generate(folder: Path, asked: Any) -> None:
    """Print a prompt and its continuation as it is made."""
    sample = late_import("undula.experiments.sample")
    sampling = sample.Sampling(
        max_new_tokens=asked.max_new_tokens,
        temperature=asked.temperature,
        top_k=asked.top_k,
        top_p=asked.top_p,
        seed=asked.seed,
    )
    loaded = late_import("undula.experiments.run").load_run(folder)
    sample.continuation(loaded, asked.prompt, sampling, on_text=write)


def show(screen: Console, folder: Path) -> None:
    """Print the scores and, once there is one, the parts of a run's model."""
    runs = late_import("undula.experiments.run")
    scores = [line for line in runs.read_metrics(folder) if "validation_loss" in line]
    rows = [
        (line["step"], *(f"{line[f'validation_{key}']:.4f}" for key in ("bits_per_byte", "loss", "perplexity")))
        for line in scores[-10:]
    ]
    head = ("step", "bits per byte", "loss (nats per token)", "perplexity")
    screen.print(table(head, rows, f"held-out text, last {len(rows)} of {len(scores)} scores"), "")
    if rows:
        model = runs.load_run(folder).model
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in _parts(model.model)}
        total = sum(p.numel() for p in model.parameters())
        screen.print(table(("parameters", "number"), [*parts.items(), ("total", total)]), "")


def _parts(model: Any) -> Iterator[tuple[str, Any]]:
    """A model's children, a lone one opened."""
    children = list(model.named_children())
    return iter(children) if len(children) > 1 else _parts(children[0][1])
