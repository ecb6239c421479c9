"""Filters of trees: named ones, and mixtures that stay orthogonal."""

import pytest
import pywt
import torch

from undula.nn.wavelet_basis import WaveletBasis, angle_rows

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


def test_a_wavelet_by_its_angles_is_the_named_one_until_they_are_turned():
    names = ("db4", "sym6")
    basis, named = (WaveletBasis(wavelets, 3).double() for wavelets in (angle_rows(names), names))
    basis.mix.data = named.mix.data = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(basis(CPU), named(CPU), atol=1e-6, rtol=0)
    one = WaveletBasis(angle_rows(("db4",)), 2)
    torch.testing.assert_close(one(CPU), WaveletBasis(("db4",), 2)(CPU), atol=1e-6, rtol=0)
    assert list(one.state_dict()) == ["angles"]
    assert list(WaveletBasis(names, 2).state_dict()) == ["mix"]
    before = one(CPU)
    one.angles += 0.1
    assert (one(CPU) - before).abs().max() > 1e-2
    low = one.bfloat16()(CPU)[0]
    # Still orthogonal to the last bit: rounded angles are angles.
    assert (low @ low).item() == pytest.approx(1.0, abs=1e-12)
    assert (low[:-2] @ low[2:]).abs().item() < 1e-12


def test_rows_of_angles_are_of_one_length():
    rows = angle_rows(("db1", "db2", (0.3, 0.2, 0.1)))
    assert rows[0] == [0.0, 0.0, 0.0]
    assert rows[1] == pytest.approx([torch.pi / 12, 0.0, 0.0], abs=1e-9)
    assert rows[2] == [0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("names", "levels", "message"),
    [
        (("db4x",), 2, "unknown wavelet 'db4x'; did you mean"),
        ((), 2, r"wavelets=\(\) with levels=2"),
        (("db2",), 0, "levels=0; wanted at least one of each"),
        (("db2", "bior2.2"), 2, "orthogonal"),
        (((),), 2, "have no angle to turn"),
    ],
)
def test_bad_input(names, levels, message):
    with pytest.raises(ValueError, match=message):
        WaveletBasis(names, levels)
