"""Frames and held values, against counting by hand, whole and in pieces."""

import pytest
import torch

from undula.ops.decimation import first_real, frames, hold, real_frames


def before(x, stride):
    """The sequence with the silence that comes before it."""
    return torch.cat([torch.zeros(len(x), 2 * (stride - 1), x.shape[2]), x], dim=1)


def test_a_frame_holds_the_positions_that_end_with_it():
    x = torch.arange(1.0, 8.0).view(1, 7, 1)
    assert frames(before(x, 3), 0, 3, 0, 3, None).tolist() == [[[0, 0, 1], [2, 3, 4], [5, 6, 7]]]
    assert frames(before(x, 3), 0, 3, 0, 3, torch.tensor([0])).tolist() == [[[0, 0, 1], [2, 3, 4], [5, 6, 7]]]
    assert frames(before(x, 3), 0, 3, 0, 2, torch.tensor([2])).tolist() == [[[1, 2, 3], [4, 5, 6]]]
    # A piece of positions 4, 5 and 6 behind the four elements before it.
    assert frames(x, 4, 3, 2, 1, None).tolist() == [[[5, 6, 7]]]
    assert frames(x, 4, 3, 1, 2, torch.tensor([1])).tolist() == [[[3, 4, 5], [6, 7, 7]]]


def test_a_value_is_held_until_the_next():
    values = torch.tensor([[[0.0], [1.0], [2.0], [3.0]]])
    assert hold(values, 0, 7, 3, -1, None).flatten().tolist() == [1, 1, 1, 2, 2, 2, 3]
    assert hold(values, 0, 7, 3, -1, torch.tensor([2])).flatten().tolist() == [0, 0, 1, 1, 1, 2, 2]
    # The piece of positions 5 to 8; the first value is that of frame 1.
    assert hold(values, 5, 4, 3, 1, None).flatten().tolist() == [0, 1, 1, 1]


def test_the_first_real_position_is_remembered():
    def found(before, real, position):
        before = None if before is None else torch.tensor(before)
        real = None if real is None else torch.tensor(real)
        start = first_real(before, real, position, 2)
        return None if start is None else start.tolist()

    assert found(None, None, 0) is None
    assert found(None, [[False, True, True], [False, False, False]], 0) == [1, -1]
    assert found([1, -1], [[True, True], [False, True]], 3) == [1, 4]
    assert found([1, -1], None, 3) == [1, 3]
    # Without a mask so far, everything was real.
    assert found(None, [[True, True], [False, True]], 3) == [0, 0]


def test_frames_that_are_complete_and_real():
    real = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]]).bool()
    start = torch.tensor([2, 0, -1])
    got = real_frames(start, real, 0, 7, 3, 0, 3)
    assert got.int().tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    # The same rows from position 4 on: frame 1 was complete at 3 in the second row and is at 5 in the first.
    assert real_frames(start, real[:, 4:], 4, 3, 3, 1, 2).int().tolist() == [[1, 0], [1, 0], [0, 0]]
    assert real_frames(start, None, 4, 3, 3, 1, 2).int().tolist() == [[1, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize("stride", [2, 3, 5])
def test_padding_moves_no_frame(stride):
    x, steps = torch.randn(1, 11, 2), 11
    alone = frames(before(x, stride), 0, stride, 0, -(-steps // stride), None)
    for padded in range(1, 7):
        row = torch.cat([torch.zeros(1, padded, 2), x], dim=1)
        phase = torch.tensor([padded % stride])
        count = -(-(steps + padded) // stride)
        skipped = padded // stride
        got = frames(before(row, stride), 0, stride, 0, count, phase)[:, skipped:]
        whole = min(got.shape[1], alone.shape[1])
        assert torch.equal(got[:, :whole], alone[:, :whole])
        assert whole == alone.shape[1]
        held = hold(got, padded, steps, stride, skipped, phase)
        assert torch.equal(held, hold(alone, 0, steps, stride, 0, None))
