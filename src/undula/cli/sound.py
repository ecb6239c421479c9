"""What the verbs do where a run is that of an audio codec, or a file is a recording."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from undula.cli.progress import clock
from undula.cli.screen import table
from undula.optional import late_import

if TYPE_CHECKING:
    from undula.training.codec import CodecProgress
    from undula.validation.sound import SoundScore

PLOTS = "plots"
"""Where pictures of a recording go, when nobody says."""


def outcome(result: Any) -> list[tuple[str, str]]:
    """Return what is printed after training."""
    waves = late_import("undula.experiments.codec").load_codec_run(result.folder).numbers_per_sample
    return [*_rows(result.validation), ("waves", f"{waves:.3g} numbers per sample")]


def following(folder: Path) -> str:
    """Return a command to try on a run."""
    return f"undula show waves SOUND.wav --codec {folder}"


def evaluate(folder: Path, asked: Any, screen: Console) -> None:
    """Print how near the reconstructions of a run's codec come to recordings."""
    scored = late_import("undula.experiments.codec").evaluate_codec_run(folder, asked.data)
    screen.print(table((str(folder), asked.data or "held-out recordings"), _rows(scored)))


def show(screen: Console, folder: Path) -> None:
    """Print the scores of a codec's run."""
    lines = late_import("undula.training.records").read_lines(folder / "metrics.jsonl")
    scores = [line for line in lines if "validation_si_sdr" in line]
    keys = ("si_sdr", "si_sdr_median", "si_sdr_lowest")
    rows = [(line["step"], *(f"{line[f'validation_{key}'] or math.nan:.2f}" for key in keys)) for line in scores[-10:]]
    head = ("step", "SI-SDR in dB, mean", "median", "lowest")
    screen.print(table(head, rows, f"held-out recordings, last {len(rows)} of {len(scores)} scores"), "")


def show_sound(screen: Console, file: Path, run: str | None, out: str | None) -> None:
    """Draw a recording, its spectrogram and its partials into a file; with a codec, its reconstruction beside it."""
    figure = late_import("undula.experiments.sound").sound_picture(file, None if run is None else Path(run))
    folder = Path(out or PLOTS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file.stem}.png"
    path.write_bytes(late_import("undula.viz.style").png(figure))
    screen.print(str(path), soft_wrap=True)


def news(progress: "CodecProgress") -> str:
    """Return loss, signal-to-noise ratio and time left in one line; before the first, what runs it."""
    if math.isnan(progress.loss):
        return f"on {progress.where}"
    return f"loss {progress.loss:.3f}  {-10 * progress.waveform:.2f} dB  {clock(progress.seconds_left)} left"


def score(progress: "CodecProgress") -> tuple[float, str]:
    """Return the score of the held-out recordings (NaN before the first), and how to say it."""
    mean = math.nan if progress.validation is None else progress.validation.mean
    return mean, f"held-out recordings {mean:.2f} dB SI-SDR"


def _rows(scored: "SoundScore") -> list[tuple[str, str]]:
    lowest = scored.known[0] if scored.known else math.nan
    return [
        ("SI-SDR", f"{scored.mean:.2f} dB on average, median {scored.median:.2f}, lowest {lowest:.2f}"),
        ("recordings", f"{len(scored.ratios):,}, {scored.seconds:,.1f} seconds, each as a whole"),
    ]
