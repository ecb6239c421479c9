"""Online convolution with long filters: the inputs come one by one, or in pieces, and every output is due at once.

The past is held in blocks whose sizes are the binary digits of its length. When a block of q inputs is full, one
transform gives all that it adds to the next q outputs; two blocks of equal size become one, as in a binary counter.
So every pair of input and output is met once, in a transform as large as it may be: O(log^2 N) a step on average,
where a sum over the past costs N.

Source: van der Hoeven, "Relax, but don't be too lazy" (2002); Oncescu et al., "Flash Inference", arXiv 2410.12982.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from undula.ops.fft import causal_conv, conv_blocks, cyclic_conv

LEAF = 32
"""Size of the smallest block; newer inputs are summed one by one."""

Block = tuple[Float[Tensor, "B C _"], Float[Tensor, "B C _"]]
"""Inputs of a block, and what they add to as many outputs after it. Inputs that are no longer needed are left out."""

Past = tuple[Float[Tensor, "B C _"], tuple[Block, ...]]
"""The newest inputs, fewer than LEAF, and the blocks before them, largest first."""

Filters = Callable[[int], Float[Tensor, "C L"]]
"""From a length to the first values of the filters, fewer where they end before."""


def nothing(like: Float[Tensor, "B C T"]) -> Past:
    """Return the past before the first input."""
    return like[..., :0], ()


def resume(u: Float[Tensor, "B C T"], filters: Filters, taps: int, past: Past) -> tuple[Float[Tensor, "B C T"], Past]:
    """Return the next outputs y(t) = sum_s h(t - s) u(s), s <= t, and the past after them.

    Args:
        u: the next inputs.
        filters: gives as much of h as is asked for.
        taps: length of h; what lies further back adds nothing, and is forgotten.
        past: from `nothing` or an earlier call. It is not changed: it can be continued more than once.
    """
    done, largest = [], _largest(taps)
    while u.shape[-1]:
        recent, blocks = past
        aligned = not recent.shape[-1] and all(ahead.shape[-1] == largest for _, ahead in blocks)
        if aligned and u.shape[-1] >= largest:
            y, past = _whole_blocks(u, filters, largest, blocks)
        elif aligned and not blocks and u.shape[-1] > LEAF:
            y, past = causal_conv(u, filters(u.shape[-1])), _remembered(u, filters, largest)
        else:
            y, past = _piece(u, filters, largest, past)
        done.append(y)
        u = u[..., y.shape[-1] :]
    return (done[0] if len(done) == 1 else torch.cat(done, dim=-1)), past


def _whole_blocks(u: Tensor, filters: Filters, largest: int, blocks: tuple[Block, ...]) -> tuple[Tensor, Past]:
    """As many of the next outputs as fill blocks of the largest size, and the past after them: what the last adds."""
    h = filters(largest)
    whole = u[..., : u.shape[-1] // largest * largest]
    before = blocks[0][1] if blocks else None
    y, ahead = conv_blocks(whole, F.pad(h, (0, largest - h.shape[-1])), before)
    ahead = ahead.contiguous()  # a view would keep all that it is a part of
    return y, (ahead[..., :0], ((ahead[..., :0], ahead),))


def _piece(u: Tensor, filters: Filters, largest: int, past: Past) -> tuple[Tensor, Past]:
    """The next outputs up to the end of a leaf or a block, and the past after them."""
    recent, blocks = past
    size = _next_size(recent.shape[-1], blocks, u.shape[-1], largest)
    window = torch.cat([recent, u[..., :size]], dim=-1)
    y = _latest(window, filters(window.shape[-1]), size) + _coming(blocks, recent.shape[-1], size)
    if window.shape[-1] < LEAF:
        return y, (window, blocks)
    return y, (window[..., :0], _joined(blocks, window, filters, largest))


def _latest(window: Tensor, h: Tensor, size: int) -> Tensor:
    """The last `size` outputs of a convolution with the inputs of a window alone."""
    if size > 1:
        return causal_conv(window, h)[..., -size:]
    reach = min(h.shape[-1], window.shape[-1])
    return (window[..., -reach:] * h[:, :reach].flip(-1)).sum(-1, keepdim=True)


def _largest(taps: int) -> int:
    """Size of a block that reaches as far as the filters do: larger ones are never needed."""
    size = LEAF
    while size < taps:
        size *= 2
    return size


def _next_size(recent: int, blocks: tuple[Block, ...], left: int, largest: int) -> int:
    """How many inputs come next: up to the end of a leaf, or the largest block that may start here."""
    if recent or left < LEAF:
        return min(LEAF - recent, left)
    size = LEAF
    while 2 * size <= min(left, largest, blocks[-1][1].shape[-1] if blocks else largest):
        size *= 2
    return size


def _coming(blocks: tuple[Block, ...], recent: int, size: int) -> Tensor | float:
    """What all blocks add to the next outputs."""
    total, since = 0.0, recent
    for _, ahead in reversed(blocks):
        total = total + ahead[..., since : since + size]
        since += ahead.shape[-1]
    return total


def _joined(blocks: tuple[Block, ...], inputs: Tensor, filters: Filters, largest: int) -> tuple[Block, ...]:
    """The blocks with one more, joined with those of equal size."""
    kept = list(blocks)
    while kept and kept[-1][1].shape[-1] == inputs.shape[-1] < largest:
        inputs = torch.cat([kept.pop()[0], inputs], dim=-1)
    if inputs.shape[-1] == largest:
        kept = []
    return (*kept, _block(inputs, filters, largest))


def _block(inputs: Tensor, filters: Filters, largest: int) -> Block:
    """A block, with what it adds to as many outputs after it: the second half of a cyclic convolution."""
    size = inputs.shape[-1]
    h = filters(2 * size)
    ahead = cyclic_conv(inputs, h, 2 * size)[..., size:]
    return (inputs if size < largest else inputs[..., :0]), ahead


def _remembered(u: Tensor, filters: Filters, largest: int) -> Past:
    """The past after the first inputs, fewer than the largest block has, without their outputs."""
    blocks, start, size = [], 0, largest // 2
    while size >= LEAF:
        if u.shape[-1] - start >= size:
            blocks.append(_block(u[..., start : start + size], filters, largest))
            start += size
        size //= 2
    return u[..., start:], tuple(blocks)
