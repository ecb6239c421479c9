"""Eigenvectors of the Hankel matrix, found through its factor, against the matrix itself."""

import numpy as np
import pytest
import torch

from tests.reference import spectral
from undula.ops.hankel import hankel, hankel_factor, spectral_filters


@pytest.mark.parametrize("length", [1, 2, 37, 300])
def test_the_factor_is_one_of_the_matrix(length):
    want = spectral.hankel(length)
    np.testing.assert_allclose(hankel(length).numpy(), want, rtol=1e-14)
    factor = hankel_factor(length).numpy()
    np.testing.assert_allclose(factor @ factor.T, want, rtol=1e-12, atol=1e-15)
    assert factor.shape[1] < 250


@pytest.mark.parametrize(("length", "count"), [(1, 1), (5, 5), (37, 12), (300, 24)])
def test_filters_are_eigenvectors(length, count):
    values, filters = spectral_filters(length, count)
    matrix = torch.from_numpy(spectral.hankel(length))
    torch.testing.assert_close(filters @ matrix, values[:, None] * filters, atol=1e-14, rtol=0)
    torch.testing.assert_close(filters @ filters.T, torch.eye(count, dtype=torch.float64), atol=1e-12, rtol=0)
    assert values.tolist() == sorted(values.tolist(), reverse=True)
    assert (filters[:, 0] > 0).all()


def test_the_largest_are_found():
    values, filters = spectral_filters(60, 5)
    want_values, want = spectral.spectral_filters(60, 5)
    np.testing.assert_allclose(values.numpy(), want_values, atol=1e-15)
    np.testing.assert_allclose(filters.numpy(), want, atol=1e-10)


def test_each_filter_changes_sign_once_more_than_the_one_before():
    """The matrix is totally positive: a wrong or mixed-up eigenvector would not oscillate so."""
    _, filters = spectral_filters(2000, 12)
    changes = (filters[:, 1:].sign() != filters[:, :-1].sign()).sum(1)
    assert changes.tolist() == list(range(12))


@pytest.mark.parametrize("count", [0, 6])
def test_more_filters_than_steps_are_refused(count):
    with pytest.raises(ValueError, match=f"count={count} filters of 5 steps; wanted 1 to 5"):
        spectral_filters(5, count)
