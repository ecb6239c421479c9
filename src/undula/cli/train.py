"""Train a recipe into a run folder, or go on with a run that was stopped."""

from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from undula.cli.arguments import parser, read_yaml, split_overrides
from undula.cli.main import INTERRUPTED, SUCCESS
from undula.cli.progress import LiveProgress
from undula.cli.screen import console, table
from undula.cli.sound import how_to_resume, train_sound
from undula.cli.translation import train_translator
from undula.optional import late_import
from undula.recipes.audio import AUDIO_RECIPES
from undula.recipes.catalogue import DEFAULT, RECIPES
from undula.recipes.changes import changed
from undula.recipes.translation import TRANSLATION_RECIPES
from undula.training.config import TrainConfig

C = TypeVar("C")


def run(arguments: list[str]) -> int:
    """Train; returns the exit code. Ctrl-C leaves a run that can be resumed."""
    words, overrides = split_overrides(arguments)
    reader = parser(
        "train", f"{__doc__} Values are changed by dotted keys: undula train wave_lm steps=500 data.source=my.txt"
    )
    recipes = ", ".join([*RECIPES, *AUDIO_RECIPES, *TRANSLATION_RECIPES])
    reader.add_argument("recipe", nargs="?", help=f"one of {recipes} (default: {DEFAULT})")
    reader.add_argument("--out", type=str, help="the run's folder (default: runs/NAME)")
    reader.add_argument("--resume", type=str, help="go on with the run in this folder, from its last checkpoint")
    reader.add_argument("--config", type=str, help="YAML file, or a run's config.json, with values to replace")
    asked = reader.parse_args(words)
    screen = console()
    if asked.resume:
        folder = Path(asked.resume)
        if asked.recipe or overrides or asked.config or asked.out:
            raise ValueError(f"--resume goes on with the configuration in {folder}; leave out all else")
        return _resume(folder, screen)
    if asked.recipe in AUDIO_RECIPES:
        sound = configured(AUDIO_RECIPES[asked.recipe](), asked.config, overrides)
        return train_sound(sound, Path(asked.out or Path("runs") / sound.name), screen, resume=False)
    if asked.recipe in TRANSLATION_RECIPES:
        pairs = configured(TRANSLATION_RECIPES[asked.recipe](), asked.config, overrides)
        return train_translator(pairs, Path(asked.out or Path("runs") / pairs.name), screen, resume=False)
    config = chosen(asked.recipe, asked.config, overrides)
    return train(config, Path(asked.out or Path("runs") / config.name), screen, resume=False)


def _resume(folder: Path, screen: Console) -> int:
    """Go on with a run, whatever it trains."""
    codecs, translators = late_import("undula.experiments.codec"), late_import("undula.experiments.translation")
    if codecs.is_codec_run(folder):
        return train_sound(codecs.read_codec_config(folder), folder, screen, resume=True)
    if translators.is_translation_run(folder):
        return train_translator(translators.read_translation_config(folder), folder, screen, resume=True)
    return train(late_import("undula.experiments.run").read_config(folder), folder, screen, resume=True)


def chosen(recipe: str | None, file: str | None, overrides: dict[str, Any]) -> TrainConfig:
    """Return a recipe's configuration with the values of a file, then those of the command line."""
    return configured(RECIPES[recipe or DEFAULT](), file, overrides)


def configured(config: C, file: str | None, overrides: dict[str, Any]) -> C:
    """Return a configuration with the values of a file, then those of the command line."""
    if file is not None:
        config = changed(config, read_yaml(Path(file)))
    return changed(config, overrides)


def train(config: TrainConfig, folder: Path, screen: Console, *, resume: bool) -> int:
    """Train into a folder and print what came of it."""
    live = LiveProgress(screen, config.name)
    try:
        with live:
            result = late_import("undula.experiments.run").train_run(config, folder, resume=resume, progress=live)
    except KeyboardInterrupt:
        screen.print(how_to_resume(folder, live.step), soft_wrap=True)
        return INTERRUPTED
    score = result.validation
    rows = [
        ("held-out text", f"{score.bits_per_byte:.4f} bits per byte, {score.loss:.4f} nats per token"),
        ("perplexity", f"{score.perplexity:.2f} per token"),
        ("parameters", f"{result.parameters:,}"),
        ("checkpoint", str(result.checkpoint)),
        ("next", f"undula generate {folder} --prompt '...'"),
    ]
    screen.print(table(("run", str(folder)), rows))
    return SUCCESS
