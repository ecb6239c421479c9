"""What the chunks of a sequence plan for the chunk after them, and which modes of a filter bank it keeps."""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.nn.norms import RMSNorm
from undula.nn.shares import LEAST, MOST
from undula.ops.kernel_attention import elu_plus_one
from undula.ops.spectral_bands import log_bands
from undula.ops.topk import soft_topk

FEATURES = 8
"""Width of a head's queries, keys and values."""

Plans = Float[Tensor, "B C1 N P"]
Sums = Float[Tensor, "B C1 N R R1"]


class ChunkPlan(nn.Module):
    """Linear attention over chunks: q_(c-1) sum_j<c phi(k_j) v_j^T / q_(c-1) sum_j<c phi(k_j), projected for each head.

    q, k, v project a chunk's summary: the logarithms of its powers in bands of frequency, channel by channel, weighted
    over the bands and normalised. Sums run over the chunks; there is no softmax and no table of pairs. The plan of the
    first chunk is 0.

    Args:
        d_model: channels.
        num_heads: heads.
        num_modes: modes of each head.
        num_bands: bands of frequency.
        numbers: what the past plans for each mode.
        scored: the last number of a plan says how much a mode counts: the logarithm of its power, and what the past
            plans for it.
        cross_frequency: False: that score is the power alone, so that no mode's depends on the others.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_modes: int,
        num_bands: int,
        numbers: int,
        scored: bool = False,
        cross_frequency: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.modes, self.num_bands, self.scored = num_heads, num_modes, num_bands, scored
        self.scores_planned = scored and cross_frequency
        self.width = (numbers + scored) * num_modes
        self.band_scales = nn.Parameter(torch.ones(num_bands, d_model) / num_bands)
        self.norm = RMSNorm(d_model)
        self.in_proj = nn.Linear(d_model, 3 * num_heads * FEATURES, bias=False)
        self.to_plan = nn.Parameter(0.1 * torch.randn(num_heads, FEATURES, (numbers + self.scores_planned) * num_modes))

    def forward(
        self,
        power: Float[Tensor, "N M B C E"],
        frequency: Float[Tensor, "N M"],
        sums: Float[Tensor, "B N R R1"],
        plan: Float[Tensor, "B N P"],
    ) -> tuple[Plans, Sums]:
        """Return the plans and the sums before each chunk and after the last.

        Args:
            power: of each mode and channel at the end of each chunk.
            frequency: of the modes, in radians per step.
            sums: before the first chunk.
            plan: of the first chunk.
        """
        bands = log_bands(frequency.abs().flatten() / (2 * math.pi), self.num_bands).unflatten(1, frequency.shape)
        heard = torch.einsum("xnm,nmbce->bcxne", bands, power).log1p().flatten(-2)
        summary = self.norm((heard * self.band_scales.to(heard.dtype)).sum(2))
        qkv = F.linear(summary, self.in_proj.weight.to(summary.dtype))
        q, k, v = qkv.unflatten(-1, (3, self.heads, FEATURES)).unbind(2)
        pairs = elu_plus_one(k)[..., None] * F.pad(v, (0, 1), value=1.0)[..., None, :]
        all_sums = torch.cat([sums[:, None], pairs], 1).cumsum(1)
        counted = torch.einsum("bcnr,bcnrs->bcns", elu_plus_one(q), all_sums[:, 1:])
        plans = torch.einsum("bcnr,nrp->bcnp", counted[..., :-1] / counted[..., -1:], self.to_plan.to(counted.dtype))
        if self.scored:
            score = rearrange(power.mean(-1).log1p(), "n m b c -> b c n m")
            if self.scores_planned:
                plans, planned = plans[..., : -self.modes], plans[..., -self.modes :]
                score = planned + score
            plans = torch.cat([plans, score], -1)
        return torch.cat([plan[:, None], plans], 1), all_sums

    def no_past(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the sums and the plan before the first chunk: zeros."""
        sums = torch.zeros(batch_size, self.heads, FEATURES, FEATURES + 1, device=device, dtype=dtype)
        return sums, torch.zeros(batch_size, self.heads, self.width, device=device, dtype=dtype)


class ModeSelector(nn.Module):
    """Keeps the k modes of the highest scores in each head, with weights between 0 and 1.

    k is `shares` times the number of modes, rounded, and at least 1; the choice is the same in training and use. The
    weight of a kept mode is (m - m') / (1 - m') with the relaxation m, which sums to the wanted number (`ops.topk`),
    and its value m' for the best mode that is not kept. Where two modes change places both have the weight 0: rounding
    cannot make an output jump, and all scores, and a learned share, have gradients.

    Args:
        num_heads: heads.
        num_modes: modes of each head.
        sparsity: share that is kept, or that heads begin with.
        adaptive: heads learn their shares, between 0.12 and 0.45.
    """

    def __init__(self, num_heads: int, num_modes: int, sparsity: float, adaptive: bool) -> None:
        super().__init__()
        self.modes, self.sparsity, self.adaptive = num_modes, sparsity, adaptive
        self.preference = nn.Parameter(0.1 * torch.randn(num_heads, num_modes))
        if adaptive:
            level = (min(max(sparsity, LEAST + 0.01), MOST - 0.01) - LEAST) / (MOST - LEAST)
            self.share_logit = nn.Parameter(torch.full((num_heads,), math.log(level / (1 - level))))
        self.most = max(1, round(num_modes * (MOST if adaptive else sparsity)))

    def shares(self) -> Float[Tensor, " N"]:
        """Return the share of its modes that each head keeps, in float32 or wider."""
        wide = torch.promote_types(self.preference.dtype, torch.float32)
        if self.adaptive:
            return LEAST + (MOST - LEAST) * torch.sigmoid(self.share_logit.to(wide))
        return self.preference.new_full(self.preference.shape[:1], self.sparsity, dtype=wide)

    def forward(self, scores: Float[Tensor, "B C N M"]) -> tuple[Float[Tensor, "B C N K"], Int[Tensor, "B C N K"]]:
        """Return weights of the K best modes and which they are; K is the most that a head can keep."""
        scores = scores + self.preference.to(scores.dtype)
        wanted = self.modes * self.shares().to(scores.dtype)
        soft = F.pad(soft_topk(scores, wanted.expand(scores.shape[:-1])), (0, 1))
        order = F.pad(scores.argsort(dim=-1, descending=True, stable=True), (0, 1), value=self.modes)
        count = wanted.detach().round().clamp(1, self.most).long()[:, None].expand(*order.shape[:-1], 1)
        bar = soft.gather(-1, order.gather(-1, count))
        kept = order[..., : self.most]
        return ((soft.gather(-1, kept) - bar) / (1 - bar)).clamp_min(0), kept

    def chosen(self, scores: Float[Tensor, "B C N M"]) -> Bool[Tensor, "B C N M"]:
        """Return which modes are kept."""
        weights, kept = self(scores)
        return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, kept, weights > 0)
