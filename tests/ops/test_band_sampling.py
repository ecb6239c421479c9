"""The estimate is right on average, its error falls as it should and stays below its bound."""

import numpy as np
import pytest
import torch

from undula.ops.band_sampling import band_chances, band_sum, sampled_band_sum, sampling_bound

BANDS = torch.randn(4, 1, 3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
WEIGHTS = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
WEIGHTS *= torch.tensor([3.0, 1.0, 0.3, 0.0], dtype=torch.float64)[:, None, None]


def estimates(draws, runs):
    g = torch.Generator().manual_seed(0)
    return torch.stack([sampled_band_sum(BANDS, WEIGHTS, draws, generator=g) for _ in range(runs)])


def test_the_sum_is_that_of_the_products():
    want = sum(BANDS[j].numpy() @ WEIGHTS[j].numpy().T for j in range(4))
    np.testing.assert_allclose(band_sum(BANDS, WEIGHTS).numpy(), want, atol=1e-13)


def test_its_mean_is_the_sum():
    runs = 4000
    found = estimates(2, runs)
    spread = found.std(0) / runs**0.5
    assert ((found.mean(0) - band_sum(BANDS, WEIGHTS)).abs() < 5 * spread + 1e-12).all()


def test_its_error_is_the_variance_of_the_theorem_and_below_the_bound():
    """The bound was 1 / sqrt(samples), whatever was sampled: a sine exceeded it eightfold."""
    y, chances = band_sum(BANDS, WEIGHTS), band_chances(WEIGHTS)
    parts = torch.stack([band_sum(BANDS[j : j + 1], WEIGHTS[j : j + 1]) for j in range(4)])
    errors = {}
    for draws in (1, 2, 8):
        errors[draws] = (estimates(draws, 4000) - y).square().sum(-1).mean(0)
        exact = ((parts.square().sum(-1) / chances[:, None, None]).sum(0) - y.square().sum(-1)) / draws
        torch.testing.assert_close(errors[draws], exact, rtol=0.15, atol=0)
        assert (exact <= sampling_bound(BANDS, WEIGHTS, draws)).all()
    torch.testing.assert_close(errors[1] / errors[8], torch.full((1, 3), 8.0, dtype=torch.float64), rtol=0.2, atol=0)


def test_at_every_position_the_bound_covers_nearly_all_runs():
    """By Markov's inequality, 20 times the bound is exceeded in less than 5 % of the runs."""
    off = (estimates(2, 2000) - band_sum(BANDS, WEIGHTS)).square().sum(-1)
    assert (off <= 20 * sampling_bound(BANDS, WEIGHTS, 2)).double().mean() >= 0.95


def test_the_mean_of_the_gradient_is_the_gradient():
    weights = WEIGHTS.clone().requires_grad_()
    (want,) = torch.autograd.grad(band_sum(BANDS, weights).sum(), weights)
    g, total = torch.Generator().manual_seed(0), torch.zeros_like(weights)
    for _ in range(3000):
        total += torch.autograd.grad(sampled_band_sum(BANDS, weights, 2, generator=g).sum(), weights)[0]
    torch.testing.assert_close(total / 3000, want, atol=0.5, rtol=0.05)


def test_chances_are_never_near_nothing():
    chances = band_chances(WEIGHTS)
    assert chances.sum().item() == pytest.approx(1)
    assert (chances.diff() < 0).all()
    assert chances.min() > 0.02
    assert band_chances(torch.zeros(4, 2, 2)).tolist() == [0.25] * 4


def test_bad_input():
    with pytest.raises(ValueError, match="draws=0; wanted at least 1"):
        sampled_band_sum(BANDS, WEIGHTS, 0)
