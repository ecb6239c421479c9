"""Kept harmonics in a narrower representation, as wide as what is kept."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.shapes import Sequence


class HarmonicGather(nn.Module):
    """Maps the k kept harmonics of each position from 3 H channels into 3 k, and back.

    y = M x over what is kept, and x = S y at what is kept, 0 elsewhere. Each harmonic has its own columns of M and rows
    of S, so it means the same to the blocks wherever it is kept. (Laid side by side in the order of their index, the
    same channel would hold another harmonic at each position; trained so, a model on characters lost 12 %.) 3 k numbers
    in general position hold what is kept without loss: M is one-to-one on inputs of k harmonics.

    Args:
        num_harmonics: harmonics H.
        kept: how many are kept, k.

    Raises:
        ValueError: when more are kept than there are.
    """

    def __init__(self, num_harmonics: int, kept: int) -> None:
        super().__init__()
        if not 1 <= kept <= num_harmonics:
            raise ValueError(f"kept={kept} of num_harmonics={num_harmonics}; wanted 1 up to all of them")
        self.num_harmonics, self.kept = num_harmonics, kept
        self.narrow = nn.Linear(3 * num_harmonics, 3 * kept, bias=False)
        self.widen = nn.Linear(3 * kept, 3 * num_harmonics, bias=False)
        # Both keep the size of what they map: 3 k of the 3 H inputs are there, each output is read alone.
        for linear in (self.narrow, self.widen):
            nn.init.normal_(linear.weight, std=(3 * kept) ** -0.5)

    def forward(self, sparse: Sequence) -> Float[Tensor, "B T K3"]:
        """Return the kept harmonics of a representation whose others are 0."""
        return self.narrow(sparse)

    def scatter(self, x: Float[Tensor, "B T K3"], chosen: Float[Tensor, "B T H"]) -> Sequence:
        """Return a representation of all harmonics, 0 at those that are not chosen."""
        return torch.where(chosen.bool().repeat(1, 1, 3), self.widen(x), 0)
