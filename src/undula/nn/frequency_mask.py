"""Passing low frequencies and stopping high ones, softly."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.shapes import Sequence
from undula.wave import parts_of

EDGE = 2.0
"""Logit of the gain at the limit itself, before it is scaled to 1 there: half of the edge's width, in slopes."""


class FrequencyMask(nn.Module):
    """Scales amplitudes by how far below a limit their frequency is.

    With u = frequency / `highest`, at most 1, gain = min(1, sigmoid(2 - slope (u - limit)) / sigmoid(2)): exactly 1 up
    to the limit, 0.05 at 5 / slope above it, and 1 everywhere at a limit of 1, without a jump on the way. The frequency
    counts, not the place of the harmonic. Frequencies and phases stay as they are: silence removes a harmonic, another
    pitch would distort it. What reads phases alone, as the cosine mode of phase coherence does, goes on hearing them;
    its complex mode weights them with amplitudes.

    Args:
        num_harmonics: harmonics H.
        mask_slope: steepness of the edge, per unit of u.
        highest: what counts as frequency 1, in the unit of the frequencies; None: the highest of each position.

    Raises:
        ValueError: for a slope or highest frequency that is not positive.

    Source: Wave Transformer enhancements, Frequency Curriculum Learning.
    """

    def __init__(self, num_harmonics: int, mask_slope: float = 10.0, *, highest: float | None = None) -> None:
        super().__init__()
        for name, value in (("mask_slope", mask_slope), ("highest", highest)):
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value}; wanted a positive number")
        self.num_harmonics, self.mask_slope, self.highest = num_harmonics, mask_slope, highest

    def forward(self, wave_repr: Sequence, freq_limit: float | Float[Tensor, ""]) -> Sequence:
        """Return the representation (B, T, 3 H) with the amplitudes below the limit alone.

        Args:
            wave_repr: frequencies, amplitudes, phases.
            freq_limit: share of the band that passes; a number of 1 or more returns the input itself.

        Raises:
            ValueError: when the representation is not 3 H wide, or a number is negative.
        """
        f, a, p = parts_of(wave_repr, self.num_harmonics)
        if not isinstance(freq_limit, Tensor):
            if freq_limit < 0:
                raise ValueError(f"freq_limit={freq_limit}; wanted a share of 0 to 1")
            if freq_limit >= 1:
                return wave_repr
        return torch.cat([f, a * self.gain(f, freq_limit), p], dim=-1)

    def gain(self, frequencies: Float[Tensor, "*batch H"], freq_limit: float | Float[Tensor, ""]) -> Tensor:
        """Return what the amplitude at each frequency is multiplied by, 0 to 1; 1 at a limit of 1 or more."""
        size = frequencies.detach().abs()
        top = size.amax(-1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)
        u = (size / (top if self.highest is None else self.highest)).clamp_max(1)
        edge = torch.sigmoid(EDGE - self.mask_slope * (u - freq_limit))
        return (edge * (1 + math.exp(-EDGE))).clamp_max(1)
