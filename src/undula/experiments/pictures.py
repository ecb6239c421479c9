"""Pictures of what a run learned: its curves, the waves of a text, its filters."""

from collections.abc import Sequence
from typing import cast

import torch
from matplotlib.figure import Figure
from torch import nn

from undula.experiments.run import Run
from undula.mixers.grid_filter import GridFilter
from undula.mixers.phase_coherent import PhaseCoherentAttention
from undula.models.language_model import LanguageModel
from undula.nn.damped_filter import DampedHarmonics
from undula.training.records import Line
from undula.viz.coherence import coherence
from undula.viz.curriculum import curriculum
from undula.viz.curves import Learning
from undula.viz.filters import impulse_responses, poles
from undula.viz.grid_filters import grid_filters
from undula.viz.waves import kept_harmonics, passage_spectrogram, spectrum_and_phases, wave_sequence
from undula.wave import Wave

FILTER_STEPS = 512
"""How many values of a filter's impulse response are drawn from."""
PASSAGE = 60
"""Tokens of a passage that are drawn one by one: as many as can be written side by side."""


def learning(label: str, lines: Sequence[Line]) -> Learning:
    """Return the curves of a run's metrics, in bits per byte."""
    curves = []
    for key in ("bits_per_byte", "validation_bits_per_byte"):
        found = [line for line in lines if line.get(key) is not None]
        curves.append([([line["step"] for line in found], [line[key] for line in found])] if found else [])
    return Learning(label=label, train=curves[0], held_out=curves[1])


def waves_of(run: Run, ids: Sequence[int]) -> Wave | None:
    """Return the waves (T, H) that a model makes of tokens; None for a model without waves."""
    with torch.no_grad():
        wave = cast(LanguageModel, run.model.model).waves(torch.tensor([list(ids)]))
    return None if wave is None else wave[0]


def token_texts(run: Run, ids: Sequence[int]) -> list[str]:
    """Return the text of each token; a piece of a character is shown as a question mark."""
    return [str(run.tokenizer.decode([i])) for i in ids]


def wave_pictures(run: Run, ids: Sequence[int], shown: int = PASSAGE) -> dict[str, Figure]:
    """Return pictures of the waves of a passage by name; none for a model without waves.

    Args:
        run: the trained model.
        ids: tokens of the passage.
        shown: tokens in the pictures that have one column for each.
    """
    wave = waves_of(run, ids)
    if wave is None:
        return {}
    tokens = token_texts(run, ids)[:shown]
    with torch.no_grad():
        kept = cast(LanguageModel, run.model.model).kept_harmonics(torch.tensor([list(ids)[:shown]]))
    chosen = {} if kept is None else {"kept harmonics": kept_harmonics(wave[:shown], kept[0].numpy(), tokens)}
    return {
        "spectrum and phases": spectrum_and_phases(wave),
        "waves of a passage": wave_sequence(wave[:shown], tokens),
        "spectrogram of a passage": passage_spectrogram(wave[:shown], tokens),
        **chosen,
    }


def curriculum_pictures(lines: Sequence[Line]) -> dict[str, Figure]:
    """Return the picture of a run's frequency curriculum, delays included; none for a run without."""
    limits, scores = _points(lines, "freq_limit"), _points(lines, "validation_loss")
    return {"frequency limit": curriculum(limits, scores)} if limits else {}


def _points(lines: Sequence[Line], key: str) -> list[tuple[float, float]]:
    """Steps and values of what was measured at some of them."""
    return [
        (step, value) for line in lines if (step := line["step"]) is not None and (value := line.get(key)) is not None
    ]


def coherence_pictures(model: nn.Module) -> dict[str, Figure]:
    """Return the picture of how much phase coherence counts in each head; none for a model that does not attend so."""
    mixers = [module for module in model.modules() if isinstance(module, PhaseCoherentAttention)]
    layers = [(mixer.alpha.flatten().tolist(), mixer.beta.flatten().tolist()) for mixer in mixers]
    return {"phase coherence": coherence(layers)} if layers else {}


def filter_pictures(model: nn.Module) -> dict[str, Figure]:
    """Return pictures of each bank of long filters, and of each filter over grids, by name; none for other models."""
    pictures = {}
    banks = [module for module in model.modules() if isinstance(module, DampedHarmonics)]
    for number, bank in enumerate(banks, 1):
        with torch.no_grad():
            responses = bank.impulse_response(FILTER_STEPS)
            decay, frequency = bank.log_decay.exp(), bank.frequency.detach()
        pictures[f"filters {number}"] = impulse_responses(responses.numpy())
        pictures[f"poles {number}"] = poles(decay.numpy(), frequency.numpy())
    grids = [module for module in model.modules() if isinstance(module, GridFilter)]
    for number, grid in enumerate(grids, 1):
        pictures[f"grid filters {number}"] = grid_filters(grid.response.detach().numpy())
    return pictures
