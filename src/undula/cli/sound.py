"""What the verbs do where a run is that of an audio codec, or a file is a recording."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from undula.cli.main import INTERRUPTED, SUCCESS
from undula.cli.progress import LiveProgress, clock
from undula.cli.screen import table
from undula.optional import late_import
from undula.training.audio_config import AudioTrainConfig

if TYPE_CHECKING:
    from undula.training.codec import CodecProgress
    from undula.validation.sound import SoundScore

PLOTS = "plots"
"""Where pictures of a recording go, when nobody says."""


def train_sound(config: AudioTrainConfig, folder: Path, screen: Console, *, resume: bool) -> int:
    """Train an audio codec into a folder and print what came of it."""
    live = LiveProgress(screen, config.name, news=news, score=score)
    try:
        with live:
            result = late_import("undula.experiments.codec").train_codec(config, folder, resume=resume, progress=live)
    except KeyboardInterrupt:
        screen.print(how_to_resume(folder, live.step), soft_wrap=True)
        return INTERRUPTED
    rows = [
        *_rows(result.validation),
        ("waves", f"{result.numbers_per_sample:.3g} numbers per sample"),
        ("parameters", f"{result.parameters:,}"),
        ("checkpoint", str(result.checkpoint)),
        ("next", f"undula show waves SOUND.wav --codec {folder}"),
    ]
    screen.print(table(("run", str(folder)), rows))
    return SUCCESS


def evaluate_sound(folder: Path, data: str | None, screen: Console) -> int:
    """Print how near the reconstructions of a run's codec come to recordings."""
    runs = late_import("undula.experiments.codec")
    scored = runs.evaluate_codec_run(folder, data)
    screen.print(table((str(folder), data or "held-out recordings"), _rows(scored)))
    return SUCCESS


def show_sound_run(screen: Console, folder: Path) -> None:
    """Print the scores and checkpoints of a codec's run."""
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


def how_to_resume(folder: Path, step: int) -> str:
    """Return what to do after Ctrl-C."""
    latest = folder / "LATEST"
    kept = latest.read_text(encoding="utf-8").strip() if latest.is_file() else "none yet, so it begins again"
    return f"stopped at step {step}; last checkpoint: {kept}. Go on with: undula train --resume {folder}"


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
