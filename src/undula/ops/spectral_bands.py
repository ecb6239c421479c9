"""Bands of frequency that do not depend on the length of a transform."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

TOP = 0.25
"""Centre of the highest band, in cycles per step: halfway, as octaves go, between its neighbour and the highest."""

OCTAVES = 2
"""From the centre of one band to the next."""


def bin_frequencies(width: int, *, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " F"]:
    """Return the frequencies of the width // 2 + 1 bins of a real transform, in cycles per step."""
    return torch.arange(width // 2 + 1, device=device, dtype=dtype) / width


def log_bands(frequencies: Float[Tensor, " F"], num_bands: int) -> Float[Tensor, "bands F"]:
    """Return the weight of each band at each frequency; at every frequency the weights sum to 1.

    Band b is centred at 1/4 cycles per step, divided by 4 for each band above it; from one centre to the next its
    weight falls as cos^2 of the logarithm of the frequency. Below the lowest centre, and at 0, all is the lowest
    band's; above the highest, the highest band's.

    Args:
        frequencies: in cycles per step, 0 or more.
        num_bands: bands, lowest first.
    """
    # Nothing below the lowest centre reaches the logarithm: at 0 its slope is infinite, and no gradient survives that.
    lowest = TOP / 2 ** (OCTAVES * (num_bands - 1))
    place = (frequencies.clamp(lowest, TOP) / TOP).log2() / OCTAVES + (num_bands - 1)
    away = (place - torch.arange(num_bands, device=place.device)[:, None]).abs().clamp_max(1)
    return (math.pi / 2 * away).cos().square()
