"""Taking a representation apart and putting it together."""

import pytest
import torch

from undula.nn.bands import AdaptiveFusion, FrequencyBandDecomposer


def test_bands_are_slices_that_add_up_to_the_input():
    decomposer = FrequencyBandDecomposer(num_harmonics=64, band_boundaries=[0.2, 0.6])
    assert decomposer.num_bands == 3
    assert decomposer.band_ranges == ((0, 12), (12, 38), (38, 64))
    assert decomposer.widths == (45, 96, 87)
    assert decomposer.band_masks.shape == (3, 64)
    torch.testing.assert_close(decomposer.band_masks.sum(0), torch.ones(64), atol=1e-6, rtol=0)
    x = torch.randn(2, 5, 192)
    bands = decomposer(x)
    assert [band.shape[-1] for band in bands] == [45, 96, 87]
    y = torch.zeros(2, 5, 3, 64)
    for band, (first, end) in zip(bands, decomposer.spans, strict=True):
        y[..., first:end] += band.unflatten(-1, (3, -1))
    torch.testing.assert_close(y.flatten(-2), x, atol=1e-6, rtol=0)


def test_a_harmonic_reaches_its_own_band_alone():
    decomposer = FrequencyBandDecomposer(64, [0.2, 0.6])
    x = torch.zeros(1, 1, 192)
    x[..., [0, 64, 128]] = torch.tensor([1.0, 2.0, 3.0])
    low, *others = decomposer(x)
    assert low[0, 0, [0, 15, 30]].tolist() == [1.0, 2.0, 3.0]
    assert low.abs().sum().item() == 6.0
    assert [band.abs().sum().item() for band in others] == [0.0, 0.0]


def test_the_transition_width_sets_the_overlap():
    assert FrequencyBandDecomposer(64, [0.2, 0.6], transition_width=0.1).spans == ((0, 18), (6, 44), (32, 64))
    assert FrequencyBandDecomposer(64, [0.2, 0.6], transition_width=0.0).spans == ((0, 12), (12, 38), (38, 64))
    with pytest.raises(ValueError, match="got a width of 96, wanted 3 x num_harmonics=192"):
        FrequencyBandDecomposer(64, [0.5])(torch.zeros(1, 1, 96))


@pytest.mark.parametrize("sliced", [False, True])
def test_fusing_what_agrees_returns_it(sliced):
    """Of three identical inputs, gates times a second softmax returned a third."""
    decomposer = FrequencyBandDecomposer(16, [0.25, 0.5])
    fusion = AdaptiveFusion(16, 3, 48, windows=decomposer.windows if sliced else None)
    torch.nn.init.normal_(fusion.score.weight)
    x = torch.randn(2, 5, 48)
    bands = [x] * 3
    if sliced:
        bands = [x.unflatten(-1, (3, 16))[..., first:end].flatten(-2) for first, end in decomposer.spans]
    gates = fusion.gates(bands)
    torch.testing.assert_close(gates.sum(-2), torch.ones(2, 5, 16), atol=1e-6, rtol=0)
    assert gates.std(1).max() > 1e-3
    torch.testing.assert_close(fusion(bands), x, atol=1e-5, rtol=0)


def test_gates_weigh_bands_that_do_not_agree():
    fusion = AdaptiveFusion(num_harmonics=4, num_bands=2, d_model=12)
    torch.nn.init.zeros_(fusion.score.weight)
    fusion.score.bias.data = torch.tensor([0.0, 3.0]).log1p()
    got = fusion([torch.zeros(1, 1, 12), torch.ones(1, 1, 12)])
    torch.testing.assert_close(got, torch.full((1, 1, 12), 0.8))


def test_sizes_that_do_not_agree_are_refused():
    with pytest.raises(ValueError, match="d_model=50 is not 3 x num_harmonics=48"):
        AdaptiveFusion(16, 3, 50)
    with pytest.raises(ValueError, match=r"got windows of \[16, 16\] harmonics; wanted 3 of num_harmonics=16"):
        AdaptiveFusion(16, 3, 48, windows=[[1.0] * 16] * 2)
