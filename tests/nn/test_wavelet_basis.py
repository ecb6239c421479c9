"""Filters of trees: named ones, and mixtures that stay orthogonal."""

import pytest
import pywt
import torch

from undula.nn.wavelet_basis import WaveletBasis

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["db1", "db4", "sym8", "coif2", "bior2.2"])
def test_one_wavelet_is_itself(name):
    basis = WaveletBasis((name,), 3)
    want = torch.tensor(pywt.Wavelet(name).rec_lo, dtype=torch.float64)
    assert list(basis.parameters()) == []
    assert torch.equal(basis(CPU), want.expand(3, -1))


def test_every_mixture_is_an_orthogonal_low_pass():
    """Mixed coefficients of two bases have no inverse; filters of mixed angles are orthogonal whatever the weights."""
    basis = WaveletBasis(("db1", "db4", "sym8"), 4).double()
    basis.mix.data = torch.randn(4, 3, dtype=torch.float64)
    for low in basis(CPU).detach():
        assert low.sum().item() == pytest.approx(2**0.5, abs=1e-12)
        products = [low[: len(low) - 2 * k] @ low[2 * k :] for k in range(len(low) // 2)]
        assert torch.stack(products).tolist() == pytest.approx([1, *[0] * (len(products) - 1)], abs=1e-12)


@pytest.mark.parametrize("index", range(3))
def test_with_all_the_weight_on_one_it_is_that_one(index):
    """Families were one and the same transform, so that choosing among them chose nothing."""
    names = ("db1", "db4", "sym6")
    basis = WaveletBasis(names, 1).double()
    basis.mix.data[0, index] = 100.0
    want = torch.tensor(pywt.Wavelet(names[index]).rec_lo, dtype=torch.float64)
    got = basis(CPU)[0].detach()
    torch.testing.assert_close(got[: len(want)], want, atol=1e-9, rtol=0)
    assert got[len(want) :].abs().sum() < 1e-9


def test_the_weights_are_those_that_mix_and_learn():
    """Weights that nothing used were reported: always equal, without a gradient."""
    basis = WaveletBasis(("db2", "sym5"), 2)
    assert basis.weights().tolist() == [[0.5, 0.5]] * 2
    basis(CPU)[:, 0].sum().backward()
    assert (basis.mix.grad.abs() > 1e-4).all()
    assert WaveletBasis(("db2",), 2).weights().tolist() == [[1.0]] * 2


@pytest.mark.parametrize(
    ("names", "levels", "message"),
    [
        (("db4x",), 2, "unknown wavelet 'db4x'; did you mean"),
        ((), 2, r"wavelets=\(\) with levels=2"),
        (("db2",), 0, "levels=0; wanted at least one of each"),
        (("db2", "bior2.2"), 2, "orthogonal"),
    ],
)
def test_bad_input(names, levels, message):
    with pytest.raises(ValueError, match=message):
        WaveletBasis(names, levels)
