"""Packed rows come apart at the borders that are given, and go together again."""

import pytest
import torch

from undula.ops import packing

ROW = torch.tensor([[5, 6, 7, 8, 9, 10]])
LENGTHS = torch.tensor([3, 1, 2])


def test_lengths_are_the_same_however_borders_are_given():
    assert packing.lengths_from_bounds(torch.tensor([0, 3, 4, 6], dtype=torch.int32), 6).tolist() == [3, 1, 2]
    assert packing.lengths_from_ids(torch.tensor([[0, 0, 0, 1, 2, 2]])).tolist() == [3, 1, 2]
    assert packing.lengths_from_positions(torch.tensor([[0, 1, 2, 0, 0, 1]])).tolist() == [3, 1, 2]


def test_a_row_ends_a_document():
    ids = torch.tensor([[0, 0, 1], [1, 1, 1]])
    assert packing.lengths_from_ids(ids).tolist() == [2, 1, 3]
    assert packing.lengths_from_positions(torch.tensor([[0, 1, 2], [3, 4, 0]])).tolist() == [3, 2, 1]


def test_one_document_of_one_token():
    assert packing.lengths_from_positions(torch.tensor([[0]])).tolist() == [1]


@pytest.mark.parametrize("bounds", [[0, 3], [1, 6], [0, 4, 4, 6], [0, 7], [0, 5, 3, 6]])
def test_bounds_that_do_not_cover_the_row_are_refused(bounds):
    with pytest.raises(ValueError, match="do not rise from 0 to the 6 tokens"):
        packing.lengths_from_bounds(torch.tensor(bounds), 6)


def test_unpack_gives_each_document_a_row():
    real, (documents, doubled) = packing.unpack(LENGTHS, ROW, 2 * ROW)
    assert documents.tolist() == [[5, 6, 7], [8, 0, 0], [9, 10, 0]]
    assert doubled.tolist() == [[10, 12, 14], [16, 0, 0], [18, 20, 0]]
    assert real.tolist() == [[True, True, True], [True, False, False], [True, True, False]]


def test_starts_are_first_tokens():
    assert packing.starts(LENGTHS, 1, 6).tolist() == [[True, False, False, True, True, False]]
    assert packing.starts(torch.tensor([2, 1, 3]), 2, 3).tolist() == [[True, False, True], [True, False, False]]


def test_repack_undoes_unpack_with_exact_gradients():
    real, (documents,) = packing.unpack(LENGTHS, ROW)
    values = torch.stack([documents, -documents], dim=-1).double().requires_grad_()
    packed = packing.repack(values, real, 1)
    assert packed[0, :, 0].tolist() == ROW[0].tolist()
    weights = torch.arange(12, dtype=torch.float64).view(1, 6, 2)
    (packed * weights).sum().backward()
    assert values.grad[real].tolist() == weights[0].tolist()
    assert values.grad[~real].abs().max() == 0


def test_two_rows_come_back_as_two_rows():
    rows = torch.arange(6).view(2, 3)
    real, (documents,) = packing.unpack(torch.tensor([2, 1, 3]), rows)
    assert packing.repack(documents.double(), real, 2).tolist() == rows.tolist()
