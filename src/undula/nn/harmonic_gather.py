"""Kept harmonics in a narrower representation, as wide as what is kept."""

from torch import nn


class HarmonicGather(nn.Module):
    """Maps the k kept harmonics of each position from 3 H channels into 3 k, and what comes of them to all harmonics.

    y = M x over what is kept, and x = S y. Each harmonic has its own columns of M and rows of S, so it means the same
    to the blocks wherever it is kept. (Laid side by side in the order of their index, the same channel would hold
    another harmonic at each position; trained so, a model on characters lost 12 %.) 3 k numbers in general position
    hold what is kept without loss: M is one-to-one on inputs of k harmonics. S fills all harmonics, those that were
    dropped before the blocks too, as blocks of full width do: with zeros there, which differ from position to position
    and by chance in training, a model on characters lost 0.6 %.

    Args:
        num_harmonics: harmonics H.
        kept: how many are kept, k.

    Raises:
        ValueError: when more are kept than there are.

    Attributes: narrow and widen, the linear maps M and S.
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
