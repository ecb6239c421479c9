"""The documented flags of SpectralLLM's scripts: what each changes in the recipe, and what to say instead of a few."""

from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentParser

from undula.recipes.catalogue import RECIPES
from undula.recipes.changes import changed
from undula.recipes.spectral_llm import SMALL, described, trained_as
from undula.training.config import TrainConfig

RECIPE = "spectral_llm"
"""The recipe that the flags of a model describe; the one that is taken when they alone are given."""

SWITCHES = {
    "use_wavelet_attention": "layers attend to windows of every level of a wavelet tree",
    "use_fourier_convolution": "layers convolve with long filters of damped waves",
    "use_frequency_domain_attention": "layers weigh bands of long filters by what the text is",
    "use_stochastic_transform": "layers project bands of a wavelet tree, of which training draws some",
    "use_adaptive_basis": "wavelets are mixtures that each level learns",
    "use_signal_embed": "tokens are sums of sinusoids alone",
}
"""Once one is given, those that are not are off, as in the documented scripts; without any the recipe's hold."""

BESIDE = {
    "spectral_gap_analysis": "measure the spectral gap of features at each score",
    "enable_evolution": "keep wavelets as rotation angles, which evolution turns in training",
}
"""Off unless given; they say nothing about the others."""

NUMBERS: dict[str, tuple[type, str]] = {
    "embed_dim": (int, "width"),
    "hidden_dim": (int, "hidden width of the feed-forward"),
    "num_heads": (int, "heads of each layer"),
    "num_layers": (int, "blocks"),
    "dropout": (float, "probability, on what each branch adds"),
    "harmonic_bases": (int, "sinusoids of each token"),
    "wavelet_type": (str, "the wavelet of all trees"),
    "wavelet_levels": (int, "their levels"),
    "evolution_population": (int, "candidates of an evolution"),
    "evolution_generations": (int, "generations of it"),
}

INSTEAD = {
    "num_samples": "texts come from --dataset_path; data.max_bytes=N takes the first documents of it",
    "num_workers": "texts are read from memory; leave it out",
    "log_file": "redirect the output: undula ... 2> FILE",
    "checkpoint_path": "give the folder of a run, or --out with the folder of one that was stopped",
}
"""Flags of the documented scripts that are refused, and what to do."""


def add_model_flags(reader: ArgumentParser) -> None:
    """Add the flags that describe a SpectralLLM, and those that are refused with a word of advice."""
    for name, purpose in (SWITCHES | BESIDE).items():
        reader.add_argument(f"--{name}", action="store_true", help=f"{RECIPE}: {purpose}")
    for name, (kind, purpose) in NUMBERS.items():
        reader.add_argument(f"--{name}", type=kind, help=f"{RECIPE}: {purpose} (default: the recipe's)")
    for name, advice in INSTEAD.items():
        reader.add_argument(f"--{name}", nargs="?", const=True, help=f"refused: {advice}")


def given(asked: Any) -> list[str]:
    """Return the names of the model's flags that were given.

    Raises:
        ValueError: when one is given that is refused; says what to do.
    """
    for name, advice in INSTEAD.items():
        if getattr(asked, name) is not None:
            raise ValueError(f"--{name}: {advice}")
    return [name for name in SWITCHES | BESIDE if getattr(asked, name)] + [
        n for n in NUMBERS if getattr(asked, n) is not None
    ]


def spectral_run(asked: Any, recipe: str | None, training: Mapping[str, Any]) -> TrainConfig:
    """Return a recipe as flags change it; without its name, that of SpectralLLM.

    Args:
        asked: what was parsed.
        recipe: its name.
        training: values of `Config`, and min_lr_ratio, that say how it is trained; None: the recipe's.

    Raises:
        ValueError: for flags of a SpectralLLM with another recipe, or values out of range.
    """
    flags = given(asked)
    trained = {name: value for name, value in training.items() if value is not None}
    name = recipe or RECIPE
    if name == RECIPE:
        evolved = sorted(name for name in flags if name.startswith("evolution_"))
        if evolved and not asked.enable_evolution:
            raise ValueError(f"--{evolved[0]} without --enable_evolution; give both, or neither")
        run = described(RECIPES[RECIPE](), changed(SMALL, _described(asked, flags)))
        return trained_as(run, trained)
    if flags:
        raise ValueError(
            f"--{flags[0]} describes a SpectralLLM, and --recipe is {name}; take --recipe {RECIPE}, or change values "
            "by dotted keys such as model.backbone.d_model=64"
        )
    return trained_as(RECIPES[name](), trained)


def _described(asked: Any, flags: list[str]) -> dict[str, Any]:
    values = {name: getattr(asked, name) for name in flags}
    if not any(name in SWITCHES for name in flags):
        return values
    return values | {name: name in flags for name in SWITCHES}
