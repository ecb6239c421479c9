"""What parts of a model add to its loss."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class HasAuxLoss(Protocol):
    """A part that adds something to the loss of what it is part of."""

    def aux_loss(self) -> Tensor | None:
        """Return what the last forward pass adds to the loss, with its weight; None for nothing."""


def summed_aux_loss(model: nn.Module) -> Tensor | None:
    """Return what the parts of a model, itself left out, add to the loss; None where none adds anything."""
    parts = [part for part in model.modules() if part is not model and isinstance(part, HasAuxLoss)]
    added = [loss for part in parts if (loss := part.aux_loss()) is not None]
    return sum(added[1:], start=added[0]) if added else None
