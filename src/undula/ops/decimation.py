"""A slower clock for a part of a sequence, strictly causal: frames of several positions, held until the next one.

Frame k is complete at position k s + phase (s the stride) and stands for the s positions that end there. What is made
of it is the output from that position until the next frame is complete. The phase is 0; where a row begins with
padding, it is such that the first real position completes a frame, so that padding does not move the frames.

A sequence may come in pieces. `position` is the position of the piece's first element, and what came before is given as
the last 2 (s - 1) elements.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def first_real(
    before: Int[Tensor, " B"] | None, real: Bool[Tensor, "B T"] | None, position: int, rows: int
) -> Int[Tensor, " B"] | None:
    """Return the position of each row's first real element, -1 where there is none yet; None while nothing is padding.

    Args:
        before: the same at the end of the piece before.
        real: which elements of the piece are real; None: all.
        position: of the piece's first element.
        rows: B.
    """
    if before is None:
        if real is None:
            return None
        before = torch.full((rows,), 0 if position else -1, device=real.device)
    if real is None:
        return torch.where(before < 0, position, before)
    found = position + real.int().argmax(1)
    return torch.where((before < 0) & real.any(1), found, before)


def frames(
    given: Float[Tensor, "B L C"], position: int, stride: int, first: int, count: int, phase: Int[Tensor, " B"] | None
) -> Float[Tensor, "B count stride_C"]:
    """Return frames first .. first + count - 1, each the s positions that end with it side by side.

    Args:
        given: the last 2 (s - 1) elements before the piece, then the piece.
        position, stride, first, count: where the piece and the frames stand.
        phase: of each row; None: 0. A frame that is not complete within the piece holds anything.
    """
    begin = first * stride - position + stride - 1
    if phase is None:
        taken = given[:, begin : begin + count * stride]
    else:
        index = begin + phase[:, None] + torch.arange(count * stride, device=given.device)
        index = index.clamp(0, given.shape[1] - 1)
        taken = given.gather(1, index[..., None].expand(-1, -1, given.shape[2]))
    return taken.reshape(len(given), count, stride * given.shape[2])


def real_frames(
    start: Int[Tensor, " B"],
    real: Bool[Tensor, "B T"] | None,
    position: int,
    steps: int,
    stride: int,
    first: int,
    count: int,
) -> Bool[Tensor, "B count"]:
    """Return which frames are complete and end with a real position.

    Args:
        start: from `first_real`.
        real: which elements of the piece are real; None: all.
        position, steps: of the piece.
        stride, first, count: where the frames stand.
    """
    ends = (first + torch.arange(count, device=start.device)) * stride + start.remainder(stride)[:, None]
    found = (start >= 0)[:, None] & (ends >= start[:, None]) & (ends < position + steps)
    if real is None:
        return found
    here = real.gather(1, (ends - position).clamp(0, steps - 1))
    return found & (here | (ends < position))


def hold(
    values: Float[Tensor, "B n D"], position: int, steps: int, stride: int, first: int, phase: Int[Tensor, " B"] | None
) -> Float[Tensor, "B steps D"]:
    """Return at each position of the piece the value of the last frame that is complete there.

    Args:
        values: of frames first, first + 1, ...
        position, steps, stride: of the piece.
        first: number of the first frame that has a value.
        phase: of each row; None: 0.
    """
    at = torch.arange(position, position + steps, device=values.device)
    if phase is None:
        return values[:, at // stride - first]
    index = (torch.div(at - phase[:, None], stride, rounding_mode="floor") - first).clamp(0, values.shape[1] - 1)
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))
