"""Kept harmonics side by side: a representation as narrow as what is kept."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from undula.shapes import Sequence


class HarmonicGather(nn.Module):
    """Lays the k kept harmonics of each position side by side, (B, T, 3 H) to (B, T, 3 k), and puts them back.

    Kept harmonics stand in the order of their index. Which ones they are would be lost: a learned vector for each
    harmonic is added for those that are kept.

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
        self.tags = nn.Parameter(torch.zeros(num_harmonics, 3 * kept))

    def forward(
        self, wave_repr: Sequence, stats: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "B T K3"], Int[Tensor, "B T K"]]:
        """Return the kept harmonics, and which they are.

        Args:
            wave_repr: (B, T, 3 H), before anything was set to 0.
            stats: what a selector with a fixed k chose.
        """
        chosen, soft = stats["selection_mask"], stats["soft_mask"]
        index = chosen.argsort(dim=-1, descending=True, stable=True)[..., : self.kept]
        parts = rearrange(wave_repr, "b t (c h) -> b t c h", c=3)
        kept = parts.gather(-1, index[..., None, :].expand(-1, -1, 3, -1))
        # The values are the kept ones themselves; the gradient reaches the choice through its relaxation.
        straight = 1 + soft - soft.detach()
        kept = kept * straight.gather(-1, index)[..., None, :]
        return rearrange(kept, "b t c k -> b t (c k)") + chosen @ self.tags, index

    def scatter(self, x: Float[Tensor, "B T K3"], index: Int[Tensor, "B T K"]) -> Sequence:
        """Return a representation of all harmonics, 0 at those that are not kept."""
        parts = rearrange(x, "b t (c k) -> b t c k", c=3)
        wide = x.new_zeros(*x.shape[:2], 3, self.num_harmonics)
        wide = wide.scatter(-1, index[..., None, :].expand(-1, -1, 3, -1), parts)
        return rearrange(wide, "b t c h -> b t (c h)")
