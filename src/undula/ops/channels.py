"""Work on a few channels at a time: what stays in the cache is faster, and memory does not grow with all channels."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

GROUP = 16
"""Channels in a group: 16 floats, a line of the cache, lie side by side in a sequence whose channels come last."""

LARGE = 2**22
"""Numbers in a sequence from which groups pay."""

Pieces = tuple[Float[Tensor, "..."], ...]


def by_channels(function: Callable[..., Pieces], shared: int, *tensors: Float[Tensor, "..."] | None) -> Pieces:
    """Return function(*tensors) for a function that treats every channel by itself, group after group.

    The outputs have channels as their second axis; the first of them is laid out in memory as the first tensor is. No
    gradient is kept of what happens inside: the backward pass computes each group again. A small sequence is done in
    one go.

    Args:
        function: from tensors to a tuple of tensors.
        shared: how many of the last tensors have channels as their first axis, as parameters do; the others have them
            as their second, after the batch.
        tensors: what it is called with; None stays None.
    """
    first = tensors[0]
    if first is None or first.numel() < LARGE or first.shape[1] <= GROUP:
        return function(*tensors)
    axes = [1] * (len(tensors) - shared) + [0] * shared
    return _Grouped.apply(function, axes, *tensors)


class _Grouped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Pieces], axes: list[int], *tensors: Tensor | None) -> Pieces:
        ctx.function, ctx.axes = function, axes
        ctx.save_for_backward(*tensors)
        outputs: list[Tensor] = []
        for start in range(0, _channels(tensors, axes), GROUP):
            parts = function(*_taken(tensors, axes, start))
            if not outputs:
                outputs = _room(tensors, parts, axes)
            for output, part in zip(outputs, parts, strict=True):
                output[:, start : start + GROUP] = part
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        tensors, axes = ctx.saved_tensors, ctx.axes
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[2:]) if needed]
        gradients: list[Tensor | None] = [None] * len(tensors)
        for i in wanted:
            gradients[i] = torch.empty_like(tensors[i])
        for start in range(0, _channels(tensors, axes), GROUP):
            parts = [None if part is None else part.detach() for part in _taken(tensors, axes, start)]
            leaves = [parts[i].requires_grad_() for i in wanted]
            with torch.enable_grad():
                outputs = ctx.function(*parts)
            known = [grad[:, start : start + GROUP] for grad in grads]
            for i, found in zip(wanted, torch.autograd.grad(outputs, leaves, known), strict=True):
                gradients[i].narrow(axes[i], start, found.shape[axes[i]]).copy_(found)
        return None, None, *gradients


def _channels(tensors: tuple[Tensor | None, ...], axes: list[int]) -> int:
    return next(t.shape[axis] for t, axis in zip(tensors, axes, strict=True) if t is not None)


def _taken(tensors: tuple[Tensor | None, ...], axes: list[int], start: int) -> list[Tensor | None]:
    """The channels of one group."""
    return [
        None if t is None else t.narrow(axis, start, min(GROUP, t.shape[axis] - start))
        for t, axis in zip(tensors, axes, strict=True)
    ]


def _room(tensors: tuple[Tensor | None, ...], parts: Pieces, axes: list[int]) -> list[Tensor]:
    """Room for the outputs of all channels."""
    channels = _channels(tensors, axes)
    room = [part.new_empty(part.shape[0], channels, *part.shape[2:]) for part in parts]
    first = tensors[0]
    if first is not None and first.shape == room[0].shape:
        room[0] = torch.empty_like(first, dtype=room[0].dtype)
    return room
