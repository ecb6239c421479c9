"""A representation of waves taken apart into bands of harmonics, and put together again."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.ops.bands import (
    band_ranges,
    band_weights,
    band_windows,
    harmonic_slice,
    overlap_add,
    window_span,
)


class FrequencyBandDecomposer(nn.Module):
    """Slices [f | A | phi] into bands that overlap a little; the bands, added where they lie, are the input again.

    band_b = w_b x at the harmonics where w_b > 0, with windows w_b that sum to 1 at every harmonic. Each band is as
    wide as it has harmonics, so that what works on it costs no more.

    Args:
        num_harmonics: harmonics H of the representation.
        band_boundaries: shares of the harmonics, increasing; n of them make n + 1 bands.
        transition_width: half the overlap of two neighbours, as a share of the harmonics (at least one harmonic); 0:
            no overlap.

    Raises:
        ValueError: for boundaries that do not increase between 0 and 1, or leave a band empty.

    Attributes: num_bands; band_ranges, the harmonics (first, end) between the boundaries; spans, the same with the
    overlap; widths, 3 times the harmonics of each span; windows, and the same as a tensor, band_masks (bands, H).

    Source: "Wave Transformer Enhancements", section 4.
    """

    band_masks: Float[Tensor, "bands H"]

    def __init__(self, num_harmonics: int, band_boundaries: Sequence[float], transition_width: float = 0.05) -> None:
        super().__init__()
        windows = band_windows(num_harmonics, band_boundaries, transition_width)
        self.num_harmonics, self.num_bands = num_harmonics, len(windows)
        self.band_ranges = band_ranges(num_harmonics, band_boundaries)
        self.spans = tuple(window_span(window) for window in windows)
        self.widths = tuple(3 * (end - first) for first, end in self.spans)
        self.windows = tuple(tuple(window) for window in windows)
        self.register_buffer("band_masks", torch.tensor(windows))

    def forward(self, wave_repr: Float[Tensor, "B T three_H"]) -> list[Float[Tensor, "B T _"]]:
        """Return the bands, (B, T, widths[b]) each, lowest first.

        Raises:
            ValueError: for a representation of another number of harmonics.
        """
        if wave_repr.shape[-1] != 3 * self.num_harmonics:
            raise ValueError(
                f"got a width of {wave_repr.shape[-1]}, wanted 3 x num_harmonics={3 * self.num_harmonics}; "
                "give frequencies, amplitudes and phases of every harmonic"
            )
        windows = self.band_masks.to(wave_repr.dtype)
        return [
            (harmonic_slice(wave_repr, span) * window[slice(*span)]).flatten(-2)
            for span, window in zip(self.spans, windows, strict=True)
        ]


class AdaptiveFusion(nn.Module):
    """Puts bands together: y(i) = sum_b g_b(i) band_b(i), with gates that sum to 1 at every harmonic i.

    g_b(i) = w_b(i) e^s_b / sum of the same, where the scores s are a projection of all bands at that position. Bands
    that agree come out as they are.

    Args:
        num_harmonics: harmonics H of the whole.
        num_bands: how many bands there are.
        d_model: width of the whole, 3 H.
        windows: a weight w for each band and harmonic; a band is the slice where its window is not zero. None: every
            band has all harmonics.

    Raises:
        ValueError: when d_model is not 3 H, or windows and bands do not match.

    Source: "Wave Transformer Enhancements", section 4.
    """

    windows: Float[Tensor, "bands H"]

    def __init__(
        self, num_harmonics: int, num_bands: int, d_model: int, *, windows: Sequence[Sequence[float]] | None = None
    ) -> None:
        super().__init__()
        if d_model != 3 * num_harmonics:
            raise ValueError(f"d_model={d_model} is not 3 x num_harmonics={3 * num_harmonics}; make them agree")
        chosen = [[1.0] * num_harmonics] * num_bands if windows is None else [list(window) for window in windows]
        if [len(window) for window in chosen] != [num_harmonics] * num_bands:
            raise ValueError(
                f"got windows of {[len(window) for window in chosen]} harmonics; "
                f"wanted {num_bands} of num_harmonics={num_harmonics}"
            )
        self.spans = tuple(window_span(window) for window in chosen)
        self.score = nn.Linear(sum(3 * (end - first) for first, end in self.spans), num_bands)
        self.register_buffer("windows", torch.tensor(chosen))

    def gates(self, bands: Sequence[Float[Tensor, "B T _"]]) -> Float[Tensor, "B T bands H"]:
        """Return the weight of each band at each harmonic."""
        return band_weights(self.score(torch.cat(list(bands), dim=-1)), self.windows.to(bands[0].dtype))

    def forward(self, bands: Sequence[Float[Tensor, "B T _"]]) -> Float[Tensor, "B T three_H"]:
        """Return the whole representation."""
        return overlap_add(bands, self.gates(bands), self.spans)
