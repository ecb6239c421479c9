"""What parts of a model add to its loss."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class HasAuxLoss(Protocol):
    """A part that adds something to the loss of what it is part of."""

    def aux_loss(self) -> Tensor | None:
        """Return what the last forward pass adds to the loss, with its weight; None for nothing."""


def summed_aux_loss(model: nn.Module) -> Tensor | None:
    """Return what the parts of a model add to the loss; None where none adds anything.

    The model itself is not asked. A part that answers does so for its own parts, which are not asked then.
    """
    added = list(_added(model))
    return sum(added[1:], start=added[0]) if added else None


def _added(model: nn.Module) -> Iterator[Tensor]:
    for part in model.children():
        if not isinstance(part, HasAuxLoss):
            yield from _added(part)
        elif (loss := part.aux_loss()) is not None:
            yield loss
