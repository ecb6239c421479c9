"""Projections of a gradient onto what a matrix spans: bases of its columns and rows, all or the leading ones."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from undula.ops.phase import wide_dtype

Matrix = Float[Tensor, "m n"]
Matrices = Float[Tensor, "B m n"]

CUT = 10.0
"""A singular value below so many roundings of the largest belongs to no direction: storing the matrix could make it."""
SURE = 1000.0
"""A pivot above so many roundings of the largest shows that no singular value is that small."""


def column_basis(tall: Matrices) -> Matrices:
    """Return Q with orthonormal columns such that Q Q^T projects onto the column space of each matrix.

    Thin Householder QR, 4 m n^2 operations, where the pivots show full rank; all other matrices by SVD in the widest
    float, with columns of zeros for missing directions: of a matrix of zeros the projection is zero. (The thin U of an
    SVD has arbitrary directions in their place.)

    Args:
        tall: at least as many rows as columns.

    Raises:
        ValueError: for wide matrices, NaN and infinity.
    """
    rows, columns = tall.shape[1:]
    if rows < columns:
        raise ValueError(f"matrices of {rows} x {columns}; wanted at least as many rows as columns: transpose them")
    basis, triangle = torch.linalg.qr(tall)
    pivots = triangle.diagonal(dim1=-2, dim2=-1).abs()
    sure = pivots.amin(-1) > SURE * torch.finfo(tall.dtype).eps * pivots.amax(-1)
    if not sure.all():
        basis[~sure] = _singular_bases(tall[~sure], columns)[0]
    return basis


def leading_bases(
    matrices: Matrices, rank: int, right: Float[Tensor, "B n r"] | None = None
) -> tuple[Float[Tensor, "B m r"], Float[Tensor, "B n r"]]:
    """Return bases of the `rank` leading left and right singular directions, (B, m, r) and (B, n, r).

    Without earlier right bases, or with incomplete ones, from an SVD. Else by one block power iteration from them, at
    8 m n r operations: left = basis of W right, right = basis of W^T left. Error angles shrink by
    (s_(r+1) / s_r)^2 each time, s being the singular values.

    Args:
        matrices: W.
        rank: directions, at most min(m, n).
        right: earlier right bases, (B, n, r).

    Raises:
        ValueError: for NaN and infinity.
    """
    if right is None:
        return _singular_bases(matrices, rank)
    left = column_basis(matrices @ right)
    right = column_basis(matrices.mT @ left)
    lost = _incomplete(left) | _incomplete(right)
    if lost.any():
        left[lost], right[lost] = _singular_bases(matrices[lost], rank)
    return left, right


def projected(
    matrix: Matrix, left: Float[Tensor, "m r"] | None, right: Float[Tensor, "n s"] | None
) -> tuple[Float[Tensor, "m k"], Float[Tensor, "k n"]]:
    """Return two factors whose product is L L^T G R R^T; a basis that is None leaves its side as it is.

    Factors, so that the product is added where it is wanted without a matrix in between; 4 m n k operations at most.

    Raises:
        ValueError: without any basis.
    """
    if left is not None and right is not None:
        return left @ (left.mT @ matrix @ right), right.mT
    if left is not None:
        return left, left.mT @ matrix
    if right is not None:
        return matrix @ right, right.mT
    raise ValueError("no basis; wanted a left or a right one, or both")


def _singular_bases(matrices: Matrices, rank: int) -> tuple[Float[Tensor, "B m r"], Float[Tensor, "B n r"]]:
    """Leading singular directions, zeros for those whose singular value is a rounding of zero."""
    if not matrices.isfinite().all():
        raise ValueError("a matrix holds NaN or infinity, and spans nothing; lower the learning rate")
    left, values, right = torch.linalg.svd(matrices.to(wide_dtype(matrices.device)), full_matrices=False)
    kept = (values > CUT * torch.finfo(matrices.dtype).eps * values[:, :1])[:, None, :rank]
    return (left[..., :rank] * kept).to(matrices.dtype), (right.mT[..., :rank] * kept).to(matrices.dtype)


def _incomplete(bases: Matrices) -> Bool[Tensor, " B"]:
    return (bases.square().sum(-2) < 0.5).any(-1)
