"""Means of bins, patterns over them, and bins taken out and put back: against the definition."""

import numpy as np
import pytest
import torch

from tests.reference import spectrum as reference
from undula.ops import bins as ops
from undula.ops.spectral_gate import bins_of


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [1, 8, 9, 33])
def test_means_of_neighbours_by_definition(count, size):
    x = torch.randn(2, 3, count, 5, dtype=torch.float64)
    got = ops.pooled(x, size)
    for i in range(2):
        for k in range(3):
            np.testing.assert_allclose(got[i, k].numpy(), reference.pooled(x[i, k].numpy(), size), atol=1e-14)
    wide = ops.stretched(got, size, count)
    assert wide.shape == x.shape
    torch.testing.assert_close(wide, got[..., torch.arange(count) // size, :])


def test_pooling_pools():
    """Pooling to the length that there is already would leave all as it was."""
    x = torch.randn(8, 3)
    assert not torch.allclose(ops.stretched(ops.pooled(x, 2), 2, 8), x)
    even = x[:1].expand(8, 3)
    torch.testing.assert_close(ops.stretched(ops.pooled(even, 4), 4, 8), even)


def test_patterns_by_definition_and_the_same_at_each_length():
    weights = torch.randn(3, 16, dtype=torch.float64)

    def at(bins):
        return ops.cosine_patterns(weights, bins_of(bins, device=torch.device("cpu"), dtype=torch.float64))

    np.testing.assert_allclose(at(33).numpy(), [reference.patterns(w, 33) for w in weights.numpy()], atol=1e-12)
    torch.testing.assert_close(at(33), at(129)[:, ::4])
    assert (at(33)[:, 0].abs() > 0.1).any()


def test_bins_come_out_and_go_back():
    spectrum = torch.randn(2, 3, 9, 8, dtype=torch.complex128)
    index = torch.stack([torch.randperm(9)[:4] for _ in range(2 * 3 * 2)]).view(2, 3, 2, 4)
    taken = ops.gather_bins(spectrum, index)
    back = ops.scatter_bins(taken, index, 9)
    for i in np.ndindex(2, 3, 2):
        mine = slice(4 * i[2], 4 * i[2] + 4)
        rows = spectrum[i[0], i[1], :, mine]
        assert torch.equal(taken[i], rows[index[i]])
        want = torch.zeros_like(rows)
        want[index[i]] = rows[index[i]]
        assert torch.equal(back[i[0], i[1], :, mine], want)


def test_gradients_of_bins():
    spectrum = torch.randn(2, 5, 4, dtype=torch.complex128, requires_grad=True)
    index = torch.tensor([[[0, 3], [4, 1]], [[2, 1], [0, 4]]])
    assert torch.autograd.gradcheck(lambda x: ops.gather_bins(x, index), (spectrum,))
    values = torch.randn(2, 2, 2, 2, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: ops.scatter_bins(v, index, 5), (values,))


def test_transposed_spectra_are_taken_as_they_are():
    spectrum = torch.randn(2, 8, 9, dtype=torch.complex128).transpose(1, 2)
    index = torch.randint(9, (2, 2, 3))
    assert torch.equal(ops.gather_bins(spectrum, index), ops.gather_bins(spectrum.contiguous(), index))
    assert torch.equal(ops.gather_bins(spectrum.conj(), index), ops.gather_bins(spectrum, index).conj())
