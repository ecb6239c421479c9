"""What teaches a selector of harmonics how many to keep, and to choose steadily."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.shapes import PaddingMask


class HarmonicSparsificationLoss(nn.Module):
    """total = sparsity + smoothness_weight smoothness + temporal_weight temporal, all at least 0 and bounded.

    sparsity is (mean(k) / H - (1 - target))^2 with the attached k; smoothness the mean square step of the soft mask
    from one harmonic to the next; temporal its mean square step from one position to the next. With a selector whose
    k is fixed, sparsity is a constant and teaches nothing.

    Args:
        target_sparsity: share of harmonics that should be dropped.
        smoothness_weight: weight of neighbouring harmonics being alike.
        temporal_weight: weight of neighbouring positions being alike.

    Raises:
        ValueError: for a share outside 0 to 1 or a negative weight.

    Source: Wave Transformer enhancements, `HarmonicSparsificationLoss`.
    """

    def __init__(
        self, target_sparsity: float = 0.5, smoothness_weight: float = 0.1, temporal_weight: float = 0.05
    ) -> None:
        super().__init__()
        if not 0 <= target_sparsity <= 1:
            raise ValueError(f"target_sparsity={target_sparsity}; wanted a share of 0 to 1, such as 0.5")
        for name, weight in (("smoothness_weight", smoothness_weight), ("temporal_weight", temporal_weight)):
            if not weight >= 0:
                raise ValueError(f"{name}={weight}; wanted 0 or more")
        self.target_sparsity = target_sparsity
        self.smoothness_weight, self.temporal_weight = smoothness_weight, temporal_weight

    def forward(
        self, stats: dict[str, Tensor], attention_mask: PaddingMask | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Return total, sparsity, smoothness and temporal.

        Args:
            stats: as `AdaptiveHarmonicSelector` gives them; soft_mask and expected_k are read.
            attention_mask: (B, T), 1 = real position; others count in no term.
        """
        soft, k = stats["soft_mask"], stats["expected_k"]
        real = torch.ones_like(k, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        pairs = real[:, 1:] & real[:, :-1]
        kept = _mean(k, real) / soft.shape[-1]
        sparsity = (kept - (1 - self.target_sparsity)).square()
        smoothness = _mean(soft.diff(dim=-1).square().sum(-1), real) / max(soft.shape[-1] - 1, 1)
        temporal = _mean(soft.diff(dim=1).square().mean(-1), pairs)
        total = sparsity + self.smoothness_weight * smoothness + self.temporal_weight * temporal
        return {"total": total, "sparsity": sparsity, "smoothness": smoothness, "temporal": temporal}


def _mean(values: Float[Tensor, "B any"], counted: Tensor) -> Float[Tensor, ""]:
    """The mean over what counts; 0 where nothing does."""
    return torch.where(counted, values, 0).sum() / counted.sum().clamp_min(1)
