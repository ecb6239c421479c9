"""Windows sum to one, slices lie where they should, weights are finite whatever the scores."""

import numpy as np
import pytest
import torch

from tests.reference.pyramid import windows
from undula.ops.bands import band_ranges, band_weights, band_windows, harmonic_slice, overlap_add, window_span

CASES = [
    (64, [0.2, 0.6], 0.05),
    (64, [0.25, 0.5, 0.75], 0.05),
    (8, [0.5], 0.05),
    (16, [0.25, 0.5], 0.2),
    (9, [0.2], 0.4),
]


@pytest.mark.parametrize(("harmonics", "boundaries", "transition"), CASES)
def test_windows_are_a_partition_of_unity(harmonics, boundaries, transition):
    """The masks of an earlier implementation summed to 0.51 at the lowest harmonic and to 0.89 elsewhere."""
    got = np.array(band_windows(harmonics, boundaries, transition))
    np.testing.assert_allclose(got.sum(0), 1, atol=1e-15)
    assert got.min() >= 0
    np.testing.assert_allclose(got, windows(harmonics, boundaries, transition), atol=1e-14)
    for window, (first, end) in zip(got, band_ranges(harmonics, boundaries), strict=True):
        assert (window[first:end] > 0).all()


def test_the_default_bands_are_the_documented_ones():
    assert band_ranges(64, [0.2, 0.6]) == ((0, 12), (12, 38), (38, 64))
    assert [window_span(w) for w in band_windows(64, [0.2, 0.6], 0.05)] == [(0, 15), (9, 41), (35, 64)]
    assert band_ranges(100, [0.29]) == ((0, 29), (29, 100))


def test_hard_edges_do_not_overlap():
    got = band_windows(8, [0.25, 0.5], 0.0)
    assert got == [[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1]]


@pytest.mark.parametrize("boundaries", [[0.6, 0.2], [0.2, 0.2], [0.0, 0.5], [0.5, 1.0], [-0.1], [1.2], []])
def test_boundaries_must_increase(boundaries):
    """Sorted in silence, they would change places and the counts of layers would not."""
    with pytest.raises(ValueError, match="increasing between 0 and 1"):
        band_ranges(64, boundaries)


def test_a_band_without_harmonics_is_refused():
    with pytest.raises(ValueError, match="a band without any of the 8 harmonics"):
        band_ranges(8, [0.3, 0.35])
    with pytest.raises(ValueError, match="transition_width=-0.1"):
        band_windows(8, [0.5], -0.1)


def test_a_slice_has_three_quantities_of_its_harmonics():
    x = torch.arange(12.0).view(1, 1, 12)
    assert harmonic_slice(x, (1, 3))[0, 0].tolist() == [[1, 2], [5, 6], [9, 10]]


def test_slices_of_one_thing_add_up_to_it_whatever_the_scores():
    w = torch.tensor(band_windows(16, [0.25, 0.5], 0.1), dtype=torch.float64)
    spans = [window_span(row) for row in w.tolist()]
    x = torch.randn(2, 3, 48, dtype=torch.float64)
    bands = [harmonic_slice(x, span).flatten(-2) for span in spans]
    for scores in (
        torch.randn(2, 3, 3),
        torch.full((2, 3, 3), -1e4),
        torch.tensor([-500.0, 0.0, 500.0]).expand(2, 3, 3),
    ):
        weights = band_weights(scores.double(), w)
        torch.testing.assert_close(weights.sum(-2), torch.ones(2, 3, 16, dtype=torch.float64), atol=1e-14, rtol=0)
        assert (weights[..., w == 0] == 0).all()
        torch.testing.assert_close(overlap_add(bands, weights, spans), x, atol=1e-13, rtol=0)
    even = band_weights(torch.zeros(1, 1, 3, dtype=torch.float64), w)[0, 0]
    torch.testing.assert_close(even, w, atol=1e-14, rtol=0)
