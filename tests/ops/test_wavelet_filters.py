"""Filters by name are true; learned ones reconstruct whatever is learned."""

import math

import pytest
import torch

from undula.ops.wavelet import MODES, wavedec, waverec
from undula.ops.wavelet_filters import (
    is_orthogonal,
    lattice_angles,
    lattice_filters,
    lift,
    named_filters,
    unlift,
    wavelet_names,
)


def test_db4_is_the_true_one():
    low, high = named_filters("db4").analysis.flip(1)
    # A table whose first tap is +0.0107772507 sums to 1.4356, and its high pass does not kill a constant.
    assert low[0].item() == pytest.approx(-0.0105974018, abs=1e-10)
    assert low.sum().item() == pytest.approx(math.sqrt(2), abs=1e-12)
    assert high.sum().abs() < 1e-12
    assert [(low[2 * k :] @ low[: 8 - 2 * k]).abs().item() < 1e-12 for k in (1, 2, 3)] == [True] * 3


def test_names():
    assert {"haar", "db1", "db38", "sym20", "coif17", "bior6.8", "rbio6.8", "dmey"} <= set(wavelet_names())
    filters = [named_filters(name).analysis for name in ("db4", "sym4", "coif2", "dmey")]
    assert not torch.allclose(filters[0], filters[1])
    with pytest.raises(ValueError, match="unknown wavelet 'db4x'; did you mean 'db4'"):
        named_filters("db4x")


@pytest.mark.parametrize("count", [0, 1, 3, 7, 20])
def test_any_angles_are_orthogonal_and_kill_a_constant(count):
    taps = lattice_filters(torch.randn(count, dtype=torch.float64) * 3)
    for k in range(count + 1):
        products = taps[:, 2 * k :] @ taps[:, : taps.shape[1] - 2 * k].t()
        want = torch.eye(2, dtype=torch.float64) if k == 0 else torch.zeros(2, 2, dtype=torch.float64)
        assert (products - want).abs().max() < 1e-12
    assert taps[1].sum().abs() < 1e-12
    x = torch.randn(3, 77, dtype=torch.float64)
    for mode in MODES:
        approx, details = wavedec(x, taps, 2, mode)
        assert (waverec(approx, details, taps, mode, 77) - x).abs().max() < 1e-12
    kept = wavedec(x[:, :64], taps, 2, "periodization")
    energy = kept[0].square().sum() + sum(d.square().sum() for d in kept[1])
    assert (energy / x[:, :64].square().sum()).item() == pytest.approx(1.0, abs=1e-12)


def test_angles_of_named_wavelets_make_them_again():
    named = [f"db{n}" for n in range(1, 9)] + [f"sym{n}" for n in range(2, 21)] + [f"coif{n}" for n in range(1, 9)]
    for name in named:
        taps = named_filters(name).synthesis
        assert (lattice_filters(lattice_angles(taps)) - taps).abs().max() < 1e-10


def test_filters_that_rotations_cannot_make_are_refused():
    for name in ("bior2.2", "dmey"):
        with pytest.raises(ValueError, match="no rotations make these filters"):
            lattice_angles(named_filters(name).synthesis)


def test_gradient_reaches_every_angle():
    angles = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lattice_filters, (angles,))


@pytest.mark.parametrize("count", [1, 3, 5])
def test_lifting_is_undone_whatever_the_weights_are(count):
    approx, detail = torch.randn(2, 4, 9, dtype=torch.float64)
    weights = 5 * torch.randn(2, count, dtype=torch.float64)
    lifted = lift(approx, detail, *weights)
    back = unlift(*lifted, *weights)
    scale = max(t.abs().max().item() for t in lifted)
    for got, want in zip(back, (approx, detail), strict=True):
        assert (got - want).abs().max() < 1e-14 * scale


def test_lifting_is_what_it_says():
    approx, detail, predict, update = (torch.randn(n, dtype=torch.float64) for n in (7, 7, 3, 3))
    zero = torch.zeros(1, dtype=torch.float64)

    def around(weights, values):
        wide = torch.cat([zero, values, zero])
        return torch.stack([sum(weights[k] * wide[n + k] for k in range(3)) for n in range(7)])

    fine = detail - around(predict, approx)
    got, got_fine = lift(approx, detail, predict, update)
    torch.testing.assert_close(got_fine, fine, rtol=0, atol=1e-14)
    torch.testing.assert_close(got, approx + around(update, fine), rtol=0, atol=1e-14)
    assert torch.equal(lift(approx, detail, 0 * predict, 0 * update)[0], approx)
    with pytest.raises(ValueError, match="2 weights; wanted an odd number"):
        lift(approx, detail, predict[:2], update[:2])


def test_which_are_orthogonal():
    assert [is_orthogonal(named_filters(n)) for n in ("db1", "sym8", "dmey", "bior2.2")] == [True, True, True, False]
