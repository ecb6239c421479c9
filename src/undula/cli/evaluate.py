"""Score the model of a run on all that it holds out: text, recordings or translations; or on others."""

from pathlib import Path

from undula.cli.arguments import parsed_length, parser
from undula.cli.main import SUCCESS
from undula.cli.screen import console, table
from undula.cli.sound import evaluate_sound
from undula.cli.translation import evaluate_translator
from undula.optional import late_import


def run(arguments: list[str]) -> int:
    """Print the score; returns the exit code."""
    reader = parser("evaluate", __doc__ or "")
    reader.add_argument("run", type=str, help="folder of a run")
    reader.add_argument(
        "--data", type=str, help="a file or folder of text, of sound, or of pairs (default: what the run holds out)"
    )
    reader.add_argument("--length", type=str, help="tokens in a window, such as 4k or 200k (default: the run's)")
    reader.add_argument("--piece", type=int, help="tokens read at a time, 0 for all of a window (default: the run's)")
    reader.add_argument("--beams", type=list[int], help="of a translator: numbers of beams, such as [1,4]")
    reader.add_argument("--length-penalty", type=list[float], help="of its beams, such as [0.6,1.0]")
    reader.add_argument("--coverage-penalty", type=list[float], help="of its beams, such as [0,0.2]")
    asked = reader.parse_args(arguments)
    if late_import("undula.experiments.codec").is_codec_run(Path(asked.run)):
        return evaluate_sound(Path(asked.run), asked.data, console())
    if late_import("undula.experiments.translation").is_translation_run(Path(asked.run)):
        settings = (asked.beams, asked.length_penalty, asked.coverage_penalty)
        return evaluate_translator(Path(asked.run), asked.data, console(), *settings)
    length = None if asked.length is None else parsed_length(asked.length)
    evaluate_run = late_import("undula.experiments.run").evaluate_run
    score = evaluate_run(Path(asked.run), asked.data, length=length, piece=asked.piece)
    rows = [
        ("bits per byte", f"{score.bits_per_byte:.4f}"),
        ("loss", f"{score.loss:.4f} nats per token"),
        ("perplexity", f"{score.perplexity:.3f} per token"),
        ("predicted", f"{score.num_tokens:,} tokens, {score.num_bytes:,} bytes"),
    ]
    console().print(table((asked.run, asked.data or "held-out text"), rows))
    return SUCCESS
