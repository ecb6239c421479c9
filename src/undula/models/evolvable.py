"""Models whose wavelets can evolve: the same models, with their wavelets given by rotation angles."""

from dataclasses import replace
from typing import Any

import undula.mixers  # noqa: F401  (fills the registry)
from undula.mixers.base import MIXERS, mixer_options
from undula.models.config import ModelConfig
from undula.nn.wavelet_basis import angle_rows

WAVELETS = "wavelets"
"""The option of mixers that have a basis."""


def evolvable(config: ModelConfig) -> ModelConfig:
    """Return a model with the wavelets of its mixers as rows of angles, which it keeps where evolution can turn them.

    It computes the same, but for rounding; a model that has angles already is returned as it is.

    Raises:
        ValueError: when no mixer has wavelets, or one of them has no angles: Haar's, and those that are not orthogonal.
    """
    bases = wavelet_mixers(config)
    if not bases:
        raise ValueError(
            f"mixers {', '.join(config.backbone.mixers)} have no wavelets that could evolve; take wavelet_attention or "
            "stochastic_wavelet"
        )
    rows = {name: angle_rows(options[WAVELETS]) for name, options in bases.items()}
    for name, found in rows.items():
        if not found or not found[0]:
            raise ValueError(f"{name}: wavelets {bases[name][WAVELETS]} have no angle; take longer ones, such as db4")
    changed = {name: {**config.backbone.mixer_options.get(name, {}), WAVELETS: found} for name, found in rows.items()}
    return replace(
        config, backbone=replace(config.backbone, mixer_options={**config.backbone.mixer_options, **changed})
    )


def wavelet_mixers(config: ModelConfig) -> dict[str, dict[str, Any]]:
    """Return the options, defaults included, of those mixers of the backbone that have wavelets."""
    found = {}
    for name in dict.fromkeys(config.backbone.mixers):
        options = {**mixer_options(MIXERS[name]), **config.backbone.mixer_options.get(name, {})}
        if WAVELETS in options:
            single = isinstance(options[WAVELETS], str)
            found[name] = options | {WAVELETS: (options[WAVELETS],) if single else options[WAVELETS]}
    return found
