"""Show a run (configuration, scores, checkpoints, parameters), its learned waves, mixers, recipes, or sizes."""

import json
from collections.abc import Iterator
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from undula.cli.arguments import parser
from undula.cli.kinds import KINDS, recipe_named, run_of
from undula.cli.main import SUCCESS
from undula.cli.screen import console, table
from undula.cli.sound import show_sound
from undula.cli.translation import show_alignment
from undula.config import to_dict
from undula.optional import late_import
from undula.recipes.catalogue import purpose
from undula.recipes.wave_gpt import SIZES, STANDARD, Size, ablated, wave_gpt
from undula.training.kinds import task_of
from undula.training.recognition_config import RECOGNITION

GPT2_VOCABULARY = 50257
"""What the documented sizes were described with."""
SOUNDS = (".wav", ".flac", ".ogg")
"""What a name ends with that is to be a recording, whether there is one or not."""
PASSAGE = 512
"""Tokens of the held-out text whose waves are drawn."""


def run(arguments: list[str]) -> int:
    """Print or draw; returns the exit code."""
    reader = parser("show", __doc__ or "")
    things = "waves RUN, waves SOUND, alignment RUN, mixers, recipes, recipes NAME, sizes"
    reader.add_argument("what", type=str, help=f"folder of a run, or: {things}")
    reader.add_argument("name", nargs="?", help="RUN or recording of `waves` and `alignment`, NAME of `recipes`")
    reader.add_argument("--out", type=str, help="folder for pictures (default: RUN/plots, or plots)")
    reader.add_argument("--prompt", type=str, default="", help="sentence whose translation `alignment` draws")
    reader.add_argument("--codec", type=str, help="run of an audio codec, to draw what it makes of a recording")
    asked = reader.parse_args(arguments)
    screen = console()
    if asked.what == "mixers":
        show_mixers(screen)
    elif asked.what == "recipes":
        show_recipes(screen, asked.name)
    elif asked.what == "sizes":
        show_sizes(screen)
    elif asked.what == "alignment":
        show_alignment(screen, Path(asked.name or ""), str(asked.prompt or ""), asked.out)
    elif asked.what == "waves":
        if asked.name is not None and (Path(asked.name).is_file() or asked.name.lower().endswith(SOUNDS)):
            show_sound(screen, Path(asked.name), asked.codec, asked.out)
        else:
            show_waves(screen, asked.name, asked.out)
    else:
        show_run(screen, Path(asked.what))
    return SUCCESS


def show_mixers(screen: Console) -> None:
    """Print every mixer with what it claims, and its options."""
    late_import("undula.mixers")
    base = late_import("undula.mixers.base")
    rows = []
    for name in (*base.MIXERS, *base.GRID_MIXERS):
        mixer = base.find_mixer(name)
        traits = mixer.traits
        options = ", ".join(f"{k}={v!r}" for k, v in base.mixer_options(mixer).items())
        rows.append(
            (name, traits.causal, traits.bidirectional, traits.streaming, traits.bounded_state, traits.cost, options)
        )
    head = ("mixer", "causal", "both ways", "streams", "bounded state", "cost", "options")
    screen.print(table(head, rows))


def show_recipes(screen: Console, name: str | None) -> None:
    """Print all recipes; of a named one, its whole configuration, ready for --config."""
    if name is not None:
        screen.print(json.dumps(to_dict(recipe_named(name)()), indent=1), soft_wrap=True, markup=False)
        return
    for kind in KINDS.values():
        rows = []
        for name, recipe in ((name, kind.recipes[name]) for name in kind.recipes):
            config = recipe()
            data = to_dict(config.data)
            items = config.steps * config.batch_size * config.accumulation
            rows.append((name, data.get("folder", data["source"]), items, purpose(recipe)))
        screen.print(table(("recipe", kind.data, "items read", "what it is"), rows), "")


def show_sizes(screen: Console) -> None:
    """Print the documented sizes of Wave-Native GPT and how many parameters they have, with the vocabulary of GPT-2."""
    count = late_import("undula.models.size").parameter_count
    rows = []
    for name, size in SIZES.items():
        models = [ablated(model, wave_gpt(name)).model for model in ("baseline", STANDARD)]
        counted = (count(replace(model, vocab_size=GPT2_VOCABULARY)) for model in models)
        rows.append((name, *astuple(size), *counted))
    head = ("size", *(field.name for field in fields(Size)), "parameters", "as a transformer")
    screen.print(table(head, rows, f"Wave-Native GPT with a vocabulary of {GPT2_VOCABULARY:,}"))


def show_waves(screen: Console, name: str | None, out: str | None) -> None:
    """Draw the waves and filters of a run of a language model, or the filters of a recogniser, into files.

    Raises:
        ValueError: when no run is named, or its model has neither waves nor filters.
    """
    if name is None:
        raise ValueError("waves of which run? Say: undula show waves RUN")
    pictures = late_import("undula.experiments.pictures")
    if task_of(run_of(Path(name))[0]) == RECOGNITION:
        model = late_import("undula.experiments.recognition").load_recogniser(Path(name)).model
        figures = pictures.filter_pictures(model)
    else:
        runs = late_import("undula.experiments.run")
        loaded, lines = runs.load_run(Path(name)), runs.read_metrics(Path(name))
        figures = {
            **pictures.wave_pictures(loaded, _passage(loaded)),
            **pictures.filter_pictures(loaded.model),
            **pictures.coherence_pictures(loaded.model),
            **pictures.curriculum_pictures(lines),
        }
    if not figures:
        raise ValueError(
            f"the model of {name} has neither waves nor long filters; show one of family wave, or with fft_conv or "
            "grid_filter"
        )
    folder = Path(out) if out else Path(name) / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    png = late_import("undula.viz.style").png
    for title, figure in figures.items():
        path = folder / f"{title.replace(' ', '-')}.png"
        path.write_bytes(png(figure))
        screen.print(str(path), soft_wrap=True)


def show_run(screen: Console, folder: Path) -> None:
    """Print configuration, scores and checkpoints of a run; of a language model, its parts too."""
    config, kind = run_of(folder)
    screen.print(table(("configuration", str(folder)), _flat(to_dict(config))), "")
    kind.show(screen, folder)
    screen.print(table(("checkpoint", "size", "state"), _checkpoints(folder)))


def _checkpoints(folder: Path) -> list[tuple[str, str, str]]:
    manifest = late_import("undula.training.manifest")
    rows = []
    for path in manifest.step_folders(folder / "checkpoints"):
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        wrong = manifest.fault(path)
        rows.append((path.name, f"{size / 1e6:.1f} MB", "whole" if wrong is None else f"damaged: {wrong}"))
    return rows


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)


def _passage(loaded: Any) -> list[int]:
    """The beginning of the run's held-out text."""
    prepared = late_import("undula.data.build").prepare(loaded.config.data)
    return prepared.validation.tokens[:PASSAGE].tolist()
