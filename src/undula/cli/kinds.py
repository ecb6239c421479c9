"""What the verbs do with each kind of run: one table, which all of them ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from undula.cli import recognition, sound, text, translation
from undula.cli.main import INTERRUPTED, SUCCESS
from undula.cli.progress import LiveProgress, how_to_resume, news, text_score
from undula.cli.screen import table
from undula.names import Registry, unknown_name
from undula.optional import late_import
from undula.recipes.audio import AUDIO_RECIPES
from undula.recipes.catalogue import RECIPES
from undula.recipes.recognition import RECOGNITION_RECIPES
from undula.recipes.translation import TRANSLATION_RECIPES
from undula.training.audio_config import AUDIO_CODEC
from undula.training.config import RunConfig
from undula.training.kinds import LANGUAGE_MODEL, task_of
from undula.training.recognition_config import RECOGNITION
from undula.training.translation_config import TRANSLATION

if TYPE_CHECKING:
    from undula.audit.finding import Finding


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of run.

    Args:
        recipes: its recipes.
        data: what its data are called, above the list of recipes.
        place: the value that says where its data lie.
        trained_by: module and function that train it.
        news, score: see `LiveProgress`.
        outcome: rows about what came of a run.
        following: a command to try next, given the run's folder.
        evaluate: prints a score; takes the folder, what was asked, and the screen.
        show: prints the scores so far.
        generate: writes what there is to say to a prompt; None where there is nothing.
        audit: returns findings about a run's model; by default refuses what is no language model.
    """

    recipes: Registry[Any]
    data: str
    place: str
    trained_by: tuple[str, str]
    news: Callable[[Any], str]
    score: Callable[[Any], tuple[float, str]]
    outcome: Callable[[Any], list[tuple[str, str]]]
    following: Callable[[Path], str]
    evaluate: Callable[[Path, Any, Console], None]
    show: Callable[[Console, Path], None]
    generate: Callable[[Path, Any], None] | None = None
    audit: Callable[[Path], Sequence["Finding"]] = text.audit


def _write(folder: Path) -> str:
    return f"undula generate {folder} --prompt '...'"


KINDS = {
    LANGUAGE_MODEL: Kind(
        recipes=RECIPES,
        data="text",
        place="data.source",
        trained_by=("undula.experiments.run", "train_run"),
        news=news,
        score=text_score,
        outcome=text.outcome,
        following=_write,
        evaluate=text.evaluate,
        show=text.show,
        generate=text.generate,
    ),
    AUDIO_CODEC: Kind(
        recipes=AUDIO_RECIPES,
        data="sound",
        place="data.source",
        trained_by=("undula.experiments.codec", "train_codec"),
        news=sound.news,
        score=sound.score,
        outcome=sound.outcome,
        following=sound.following,
        evaluate=sound.evaluate,
        show=sound.show,
    ),
    TRANSLATION: Kind(
        recipes=TRANSLATION_RECIPES,
        data="pairs",
        place="data.folder",
        trained_by=("undula.experiments.translation", "train_translation"),
        news=translation.news,
        score=translation.score,
        outcome=translation.outcome,
        following=_write,
        evaluate=translation.evaluate,
        show=translation.show,
        generate=translation.generate,
        audit=translation.audit,
    ),
    RECOGNITION: Kind(
        recipes=RECOGNITION_RECIPES,
        data="data",
        place="data.source",
        trained_by=("undula.experiments.recognition", "train_recogniser"),
        news=recognition.news,
        score=recognition.score,
        outcome=recognition.outcome,
        following=recognition.following,
        evaluate=recognition.evaluate,
        show=recognition.show,
        generate=recognition.generate,
    ),
}
"""By what a run's configuration says in `task`."""


def all_recipes() -> list[str]:
    """Return the names of all recipes, by kind."""
    return [name for kind in KINDS.values() for name in kind.recipes]


def recipe_named(name: str) -> Callable[[], Any]:
    """Return a recipe of any kind.

    Raises:
        ValueError: for an unknown name; suggests the nearest.
    """
    for kind in KINDS.values():
        if name in kind.recipes:
            return kind.recipes[name]
    raise unknown_name("recipe", name, all_recipes())


def run_of(folder: Path) -> tuple[RunConfig, Kind]:
    """Return the configuration of a run, and what can be done with it.

    Raises:
        FileNotFoundError: when the folder is no run.
        ValueError: when its configuration cannot be read.
    """
    config = late_import("undula.experiments.folder").read_any_run(folder)
    return config, KINDS[task_of(config)]


def train(config: RunConfig, folder: Path, screen: Console, *, resume: bool) -> int:
    """Train into a folder, or go on there, and print what came of it; returns the exit code."""
    kind = KINDS[task_of(config)]
    live = LiveProgress(screen, config.name, news=kind.news, score=kind.score)
    try:
        with live:
            module, function = kind.trained_by
            result = getattr(late_import(module), function)(config, folder, resume=resume, progress=live)
    except KeyboardInterrupt:
        screen.print(how_to_resume(folder, live.step), soft_wrap=True)
        return INTERRUPTED
    rows = [
        *kind.outcome(result),
        ("parameters", f"{result.parameters:,}"),
        ("checkpoint", str(result.checkpoint)),
        ("next", kind.following(folder)),
    ]
    screen.print(table(("run", str(folder)), rows))
    return SUCCESS
