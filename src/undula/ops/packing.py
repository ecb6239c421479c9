"""Packed rows: several documents behind one another, taken apart so that none sees another, and put together again."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Lengths = Int[Tensor, " n"]
"""Length of each document in tokens, in the order of the packed rows; a row never ends inside a document."""


def lengths_from_bounds(bounds: Int[Tensor, " bounds"], tokens: int) -> Lengths:
    """Return the documents' lengths from their cumulative sum, as `cu_seq_lens_q` holds it.

    Args:
        bounds: 0, then the end of each document, counted through all rows.
        tokens: number of tokens in all rows.

    Raises:
        ValueError: when the bounds do not rise from 0 to `tokens`.
    """
    ends = bounds.tolist()
    if ends[:1] != [0] or ends[-1] != tokens or any(a >= b for a, b in zip(ends, ends[1:], strict=False)):
        raise ValueError(f"cu_seq_lens={_short(ends)} do not rise from 0 to the {tokens} tokens of the packed rows")
    return bounds.diff()


def lengths_from_ids(seq_idx: Int[Tensor, "B T"]) -> Lengths:
    """Return the documents' lengths from the document's number at each token: a change begins the next one."""
    return _runs(seq_idx[:, 1:] != seq_idx[:, :-1])


def lengths_from_positions(position_ids: Int[Tensor, "B T"]) -> Lengths:
    """Return the documents' lengths from positions: where they do not go on by one, the next document begins."""
    return _runs(position_ids[:, 1:] != position_ids[:, :-1] + 1)


def starts(lengths: Lengths, rows: int, steps: int) -> Bool[Tensor, "B T"]:
    """Return where documents begin in packed rows of `steps` tokens each."""
    first = torch.zeros(rows * steps, dtype=torch.bool, device=lengths.device)
    first[lengths.cumsum(0) - lengths] = True
    return first.view(rows, steps)


def unpack(lengths: Lengths, *rows: Int[Tensor, "B T"]) -> tuple[Bool[Tensor, "n L"], list[Int[Tensor, "n L"]]]:
    """Return documents one to a row, padded with zeros on the right, and which of their positions are real.

    Time and memory of what follows grow with n times the longest document.

    Args:
        lengths: of the documents.
        rows: packed tensors that are taken apart alike.
    """
    longest = int(lengths.max())
    real = torch.arange(longest, device=lengths.device) < lengths[:, None]
    apart = [packed.new_zeros(real.shape).masked_scatter(real, packed) for packed in rows]
    return real, apart


def repack(documents: Float[Tensor, "n L *rest"], real: Bool[Tensor, "n L"], rows: int) -> Float[Tensor, "B T *rest"]:
    """Return documents put behind one another again; their gradient is exact.

    Args:
        documents: one to a row.
        real: from `unpack`.
        rows: number of packed rows.
    """
    return documents[real].unflatten(0, (rows, -1))


def _runs(border: Bool[Tensor, "B T1"]) -> Lengths:
    """Lengths of the runs that borders, a step after which the next run begins, cut rows into."""
    rows, steps = border.shape
    last = torch.cat([border, border.new_ones(rows, 1)], dim=1).flatten().nonzero()[:, 0]
    return torch.cat([last[:1] + 1, last.diff()])


def _short(values: list[int]) -> str:
    return str(values) if len(values) <= 6 else f"[{values[0]}, {values[1]}, ..., {values[-1]}]"
