"""Train a recipe into a run folder, or go on with a run that was stopped."""

from pathlib import Path
from typing import Any, TypeVar

from undula.cli.arguments import parser, read_yaml, split_overrides
from undula.cli.kinds import all_recipes, recipe_named, run_of, train
from undula.cli.screen import console
from undula.recipes.catalogue import DEFAULT
from undula.recipes.changes import changed

C = TypeVar("C")


def run(arguments: list[str]) -> int:
    """Train; returns the exit code. Ctrl-C leaves a run that can be resumed."""
    words, overrides = split_overrides(arguments)
    reader = parser(
        "train", f"{__doc__} Values are changed by dotted keys: undula train wave_lm steps=500 data.source=my.txt"
    )
    recipes = ", ".join(all_recipes())
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
        return train(run_of(folder)[0], folder, screen, resume=True)
    config = configured(recipe_named(asked.recipe or DEFAULT)(), asked.config, overrides)
    return train(config, Path(asked.out or Path("runs") / config.name), screen, resume=False)


def configured(config: C, file: str | None, overrides: dict[str, Any]) -> C:
    """Return a configuration with the values of a file, then those of the command line."""
    if file is not None:
        config = changed(config, read_yaml(Path(file)))
    return changed(config, overrides)
