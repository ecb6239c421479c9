"""Projections equal those of the SVD where that says what they are, and are defined where it does not."""

import numpy as np
import pytest
import torch

from tests.reference.wave_native import column_projector, projectors
from undula.ops.projection import column_basis, leading_bases, projected


def of_rank(rank, rows, columns, dtype=torch.float64):
    return (torch.randn(rows, rank, dtype=dtype) @ torch.randn(rank, columns, dtype=dtype)).to(dtype)


def projector(basis):
    return basis @ basis.mT


def with_values(values, rows=12, columns=9):
    """Return a matrix with these singular values."""
    U, V = (torch.linalg.qr(torch.randn(n, columns, dtype=torch.float64))[0] for n in (rows, columns))
    return U @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ V.mT


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_column_basis_projects_as_the_svd_does(dtype, error):
    matrices = torch.randn(3, 40, 17, dtype=dtype)
    basis = column_basis(matrices)
    assert basis.dtype is dtype
    for matrix, own in zip(matrices, basis, strict=True):
        wanted = projectors(matrix.double().numpy())[0]
        np.testing.assert_allclose(projector(own).double().numpy(), wanted, atol=error)


def test_every_matrix_of_a_stack_has_its_own_rank():
    stack = torch.stack([of_rank(5, 11, 5), of_rank(2, 11, 5), torch.zeros(11, 5, dtype=torch.float64)])
    for matrix, basis, rank in zip(stack, column_basis(stack), (5, 2, 0), strict=True):
        np.testing.assert_allclose(projector(basis).numpy(), column_projector(matrix.numpy()), atol=1e-12)
        assert projector(basis).trace().item() == pytest.approx(rank)


def test_rounding_adds_no_direction_in_single_precision():
    matrix = of_rank(7, 300, 40).float()
    basis = column_basis(matrix[None])[0]
    assert (basis.square().sum(0) > 0.5).sum() == 7
    np.testing.assert_allclose(projector(basis).double().numpy(), column_projector(matrix.double().numpy()), atol=1e-5)


def test_a_weak_direction_is_one_all_the_same():
    matrix = with_values([1.0] * 8 + [1e-3])
    basis = column_basis(matrix.float()[None])[0].double()
    np.testing.assert_allclose(projector(basis).numpy(), column_projector(matrix.numpy()), atol=1e-3)
    assert projector(basis).trace().item() == pytest.approx(9, abs=1e-5)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (7, 7)])
def test_leading_bases_start_as_the_svds(shape):
    matrix = torch.randn(shape, dtype=torch.float64)
    left, right = leading_bases(matrix[None], 3)
    for basis, wanted in zip((left[0], right[0]), projectors(matrix.numpy(), 3), strict=True):
        np.testing.assert_allclose(projector(basis).numpy(), wanted, atol=1e-12)


def test_power_iteration_finds_the_leading_directions_at_its_rate():
    matrix = with_values([9.0, 8.0, 7.0, 3.5, 1, 1, 1, 1, 1])
    right = leading_bases(with_values([9.0, 8.0, 7.0, 3.5, 1, 1, 1, 1, 1])[None], 3)[1]
    wanted, errors = projectors(matrix.numpy(), 3), []
    for _ in range(25):
        left, right = leading_bases(matrix[None], 3, right)
        errors.append(np.abs(projector(right[0]).numpy() - wanted[1]).max())
    np.testing.assert_allclose(projector(left[0]).numpy(), wanted[0], atol=1e-10)
    assert errors[12] / errors[8] == pytest.approx(0.5 ** (2 * 4), rel=0.3)


def test_leading_directions_that_were_missing_come_back():
    zeros, grown = torch.zeros(1, 8, 6, dtype=torch.float64), torch.randn(1, 8, 6, dtype=torch.float64)
    left, right = leading_bases(zeros, 2)
    assert left.abs().sum() == right.abs().sum() == 0
    left, right = leading_bases(grown, 2, right)
    np.testing.assert_allclose(projector(left[0]).numpy(), projectors(grown[0].numpy(), 2)[0], atol=1e-12)


def test_factors_multiply_to_the_projection():
    matrix, tall = torch.randn(9, 6, dtype=torch.float64), torch.randn(1, 9, 4, dtype=torch.float64)
    left, right = column_basis(tall)[0], column_basis(tall[:, :6, :2])[0]
    L, R = left @ left.mT, right @ right.mT
    for pair, wanted in (((left, None), L @ matrix), ((None, right), matrix @ R), ((left, right), L @ matrix @ R)):
        a, b = projected(matrix, *pair)
        torch.testing.assert_close(a @ b, wanted)


def test_what_spans_nothing_is_refused():
    with pytest.raises(ValueError, match="matrices of 3 x 4; wanted at least as many rows"):
        column_basis(torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        column_basis(torch.full((1, 4, 3), torch.nan))
    with pytest.raises(ValueError, match="no basis"):
        projected(torch.zeros(2, 2), None, None)
