"""Filters of bands and a phase curve: against the definition, real in time, the same at each length."""

import numpy as np
import pytest
import torch

from tests.reference import spectrum as reference
from undula.ops import spectral_gate as ops
from undula.ops.fft import irfft
from undula.ops.spectral_bands import log_bands


def frequencies(bins):
    return ops.bins_of(bins, device=torch.device("cpu"), dtype=torch.float64)


@pytest.mark.parametrize("bins", [2, 9, 33])
def test_bands_phases_and_levels_equal_the_definition(bins):
    bands = log_bands(frequencies(bins), 4)
    np.testing.assert_allclose(bands.numpy(), reference.bands(4, bins), atol=1e-14)
    a, c = torch.randn(2, 3, 4, dtype=torch.float64)
    got = ops.phase_curves(a, c, frequencies(bins))
    want = [reference.phase(*row, bins) for row in zip(a.numpy(), c.numpy(), strict=True)]
    np.testing.assert_allclose(got.numpy(), want, atol=1e-13)
    size = torch.rand(2, bins, 5, dtype=torch.float64)
    weights = reference.bands(4, bins)
    levels = np.einsum("bf,nfd->nbd", weights, size.numpy()) / np.maximum(weights.sum(-1), 1e-300)[:, None]
    np.testing.assert_allclose(ops.band_levels(size, bands).numpy(), levels, atol=1e-13)


def test_a_single_bin_has_one_band():
    bands = log_bands(frequencies(1), 4)
    torch.testing.assert_close(bands, torch.tensor([[1.0], [0], [0], [0]], dtype=torch.float64))
    levels = ops.band_levels(torch.full((1, 1), 2.0, dtype=torch.float64), bands)
    torch.testing.assert_close(levels, 2 * bands)


def test_filters_are_real_and_the_same_at_each_length():
    gains = torch.rand(3, 4, dtype=torch.float64)
    a, c = torch.randn(2, 3, 4, dtype=torch.float64)

    def response(bins):
        f = frequencies(bins)
        return ops.banded_filter(gains, log_bands(f, 4), ops.phase_curves(a, c, f))

    coarse, fine = response(33), response(129)
    torch.testing.assert_close(coarse, fine[:, ::4])
    assert coarse.imag[:, [0, -1]].abs().max() < 1e-13
    assert coarse.imag[:, 1:-1].abs().min(-1).values.max() > 0
    impulse = irfft(coarse, 64)
    torch.testing.assert_close(torch.fft.rfft(impulse), coarse)


def test_no_bin_is_louder_than_its_gains():
    """Bands sum to 1, so equal gains are a flat response."""
    f = frequencies(33)
    flat = ops.banded_filter(torch.full((1, 4), 0.3, dtype=torch.float64), log_bands(f, 4), torch.zeros_like(f)[None])
    torch.testing.assert_close(flat.real, torch.full((1, 33), 0.3, dtype=torch.float64))


def test_unevenness_equals_the_definition():
    power = torch.rand(4, 9, dtype=torch.float64) ** 4
    counted = torch.tensor([[True] * 9, [True, False] * 4 + [True], [True] + [False] * 8, [False] * 9])
    got = ops.unevenness(power, counted)
    want = [reference.unevenness(row[here]) for row, here in zip(power.numpy(), counted.numpy(), strict=True)]
    np.testing.assert_allclose(got.numpy(), want, atol=1e-12)
    assert got[2:].tolist() == [0, 0]


def test_unevenness_is_0_for_an_even_spectrum_and_1_for_a_line():
    line = torch.zeros(64, dtype=torch.float64)
    line[5] = 3.0
    assert ops.unevenness(torch.full((64,), 7.0)).item() == pytest.approx(0, abs=1e-6)
    assert ops.unevenness(line).item() == pytest.approx(1, abs=1e-4)
    assert ops.unevenness(torch.zeros(64)).item() == pytest.approx(0, abs=1e-6)
    assert ops.unevenness(1e6 * line).item() == pytest.approx(ops.unevenness(line).item())


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0])
def test_gradients_are_finite_in_single_precision(scale):
    spectrum = (scale * torch.randn(2, 9, 3, dtype=torch.complex64)).requires_grad_()
    size = ops.magnitudes(spectrum)
    (ops.unevenness(size.square().sum(-1)).sum() + size.sum()).backward()
    assert spectrum.grad.isfinite().all()


def test_gradients_equal_differences():
    power = torch.rand(3, 7, dtype=torch.float64, requires_grad=True)
    counted = torch.tensor([[True] * 7, [True] * 4 + [False] * 3, [False] * 6 + [True]])
    assert torch.autograd.gradcheck(lambda p: ops.unevenness(p, counted), (power,))
    parts = [torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)]
    parts = [part.requires_grad_() for part in (*parts, torch.randn(3, 4, dtype=torch.float64))]
    f = frequencies(9)
    bands = log_bands(f, 4)
    assert torch.autograd.gradcheck(lambda g, a, c: ops.banded_filter(g, bands, ops.phase_curves(a, c, f)), parts)
