"""Choosing the frequencies that matter, for each head."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor, nn

from undula.nn.shares import LEAST, MOST
from undula.ops.bins import cosine_patterns, gather_bins, pooled, stretched
from undula.ops.spectral_gate import bins_of, magnitudes
from undula.ops.topk import gumbel_like, hard_topk, logit_of_share, soft_topk

PATTERNS = 16
"""Learned waves of each head's preference over frequency."""

SCALE_WEIGHT = 0.5
"""Weight of the scorer on single bins, beside the importance network; each coarser one has half of the one before."""

WARMEST = 0.1
"""Least temperature."""

EPS = 1e-6
"""Added to the mean magnitude, so that silence has no division by zero."""


class Draws(NamedTuple):
    """What decides: scores over temperature, with noise in training; and how many bins are wanted and taken."""

    scores: Float[Tensor, "*batch N F"]
    wanted: Float[Tensor, "*batch N"]
    k: Int[Tensor, "*batch N"]


class KeptBins(NamedTuple):
    """Bins that were kept, by head, most important first; where a head keeps fewer than K the rest is 0, not kept.

    `ops.bins.scatter_bins(values, index, F)` puts them back.
    """

    values: Complex[Tensor, "*batch N K E"]
    index: Int[Tensor, "*batch N K"]
    kept: Bool[Tensor, "*batch N K"]


class AdaptiveFrequencySelector(nn.Module):
    """Keeps the k most important bins of each head as they are; the others become 0.

    score = network(|X|) + 1/2 sum_i 2^-i scorer_i(means of 2^i bins) + q . mean(k) + |X_h| / mean |X_h| + patterns(f).
    The k highest of score / temperature are kept, in training of score / temperature + Gumbel noise: k draws without
    replacement from the distribution of energies -score at a learned temperature. The rule is the same in both.
    Gradients reach the scores and k through a relaxation that sums to k (`ops.topk.soft_topk`); values are not scaled.

    Each head keeps a share of 0.12 + 0.33 sigmoid(offset_h + mean score of the network) of its bins, which starts near
    `base_sparsity`. Patterns are 16 cosines over normalised frequency; queries meet the mean of the keys, which is the
    mean over all keys of q . k, at a cost linear in F. Cost 4 F D^2 for the network.

    Args:
        dim: channels D.
        base_sparsity: share of bins that is kept; at the start, when adaptive.
        num_heads: contiguous groups of channels that choose for themselves.
        num_freq_bands: scorers, on means of 1, 2, 4, ... bins.
        adaptive: whether the share of each head depends on the input and is learned.
        cross_frequency: whether bins are scored by how they match the mean of all.

    Raises:
        ValueError: when heads do not divide the width, or a share is out of range.

    Attributes: noise, size of the noise in training; 0 chooses as in evaluation.

    Source: Spectral Neural Networks, component 3, `AdaptiveFrequencySelector`; Kool et al., arXiv 1903.06059.
    """

    def __init__(
        self,
        dim: int,
        base_sparsity: float = 0.15,
        num_heads: int = 8,
        num_freq_bands: int = 4,
        *,
        adaptive: bool = True,
        cross_frequency: bool = True,
    ) -> None:
        super().__init__()
        _check(dim, base_sparsity, num_heads, num_freq_bands, adaptive)
        self.dim, self.num_heads, self.base_sparsity, self.noise = dim, num_heads, base_sparsity, 1.0
        # What is the same for all bins decides nothing but how many are kept: no bias where that is fixed.
        self.importance = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, dim * 2),
            nn.GELU(),
            nn.Linear(dim * 2, dim),
            nn.GELU(),
            nn.Linear(dim, num_heads, bias=adaptive),
        )
        hidden = max(1, dim // 4)
        self.scorers = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, num_heads, bias=False))
            for _ in range(num_freq_bands)
        )
        self.query = nn.Linear(dim, dim, bias=False) if cross_frequency else None
        self.key = nn.Linear(dim, dim, bias=False) if cross_frequency else None
        self.patterns = nn.Parameter(0.02 * torch.randn(num_heads, PATTERNS))
        self.temperature = nn.Parameter(torch.full((num_heads,), (1 - WARMEST)).expm1().log())
        start = logit_of_share((base_sparsity - LEAST) / (MOST - LEAST))
        self.offset = nn.Parameter(torch.full((num_heads,), start)) if adaptive else None

    def forward(
        self, spectrum: Complex[Tensor, "*batch F D"]
    ) -> tuple[Complex[Tensor, "*batch F D"], Float[Tensor, "*batch F N"]]:
        """Return the spectrum with the chosen bins alone, and which: 0 or 1, with the gradient of the relaxation."""
        draws = self.draws(magnitudes(spectrum))
        chosen = hard_topk(draws.scores, draws.k).to(draws.scores.dtype)
        soft = _soft(draws)
        mask = rearrange(chosen if soft is None else chosen + (soft - soft.detach()), "... n f -> ... f n")
        return spectrum * mask.repeat_interleave(self.dim // self.num_heads, dim=-1), mask

    def select(
        self, spectrum: Complex[Tensor, "*batch F D"], size: Float[Tensor, "*batch F D"] | None = None
    ) -> KeptBins:
        """Return the chosen bins alone, K at most for a head, for work that costs what is kept.

        K is the largest k of all heads and spectra; compiled, where it has to be known beforehand, the most it can be.

        Args:
            spectrum: whose bins are taken.
            size: `ops.spectral_gate.magnitudes` of it, where they are known.
        """
        draws = self.draws(magnitudes(spectrum) if size is None else size)
        room = self.room(spectrum.shape[-2])
        if self.offset is not None and not torch.compiler.is_compiling():
            room = int(draws.k.max()) if draws.k.numel() else 0
        index = draws.scores.argsort(dim=-1, descending=True, stable=True)[..., :room]
        kept = torch.arange(room, device=index.device) < draws.k[..., None]
        values = gather_bins(spectrum, index)
        soft = _soft(draws)
        if soft is not None:
            values = values * (1 + torch.gather(soft - soft.detach(), -1, index))[..., None]
        return KeptBins(torch.where(kept[..., None], values, 0), index, kept)

    def room(self, num_bins: int) -> int:
        """Return the most bins that a head can keep of so many."""
        return max(1, round(num_bins * (self.base_sparsity if self.offset is None else MOST)))

    def draws(self, size: Float[Tensor, "*batch F D"]) -> Draws:
        """Return what decides which bins are kept, and how many, given the magnitudes."""
        num_bins = size.shape[-2]
        normed = self.importance[0](size.to(self.patterns.dtype))
        network = self.importance[1:](normed).to(size.dtype)
        by_head = size.unflatten(-1, (self.num_heads, -1)).mean(-1)
        scores = network + by_head / (by_head.mean(-2, keepdim=True) + EPS)
        for i, scorer in enumerate(self.scorers):
            coarse = stretched(scorer(pooled(normed, 2**i)), 2**i, num_bins)
            scores = scores + SCALE_WEIGHT * 0.5**i * coarse
        if self.query is not None and self.key is not None:
            scores = scores + self._matches(normed, self.query.weight, self.key)
        frequencies = bins_of(num_bins, device=size.device, dtype=size.dtype)
        preferred = cosine_patterns(self.patterns.to(size.dtype), frequencies)
        temperature = nn.functional.softplus(self.temperature.to(size.dtype)) + WARMEST
        final = (rearrange(scores, "... f n -> ... n f") + preferred) / temperature[:, None]
        if self.training:
            final = final + self.noise * gumbel_like(final)
        wanted = self._wanted(network)
        return Draws(final, wanted, wanted.detach().round().clamp_min(1).long())

    def _matches(
        self, normed: Float[Tensor, "*batch F D"], query: Float[Tensor, "D D"], key: nn.Module
    ) -> Float[Tensor, "*batch F N"]:
        """mean_g q_f . k_g / sqrt(E) by head: the mean of the keys first, then one product with each bin."""
        width = self.dim // self.num_heads
        mean_key = key(normed.mean(-2)).unflatten(-1, (self.num_heads, width))
        by_head = query.unflatten(0, (self.num_heads, width)).to(mean_key.dtype)
        direction = torch.einsum("...ne,ned->...nd", mean_key, by_head)
        return torch.einsum("...fd,...nd->...fn", normed.to(direction.dtype), direction) * width**-0.5

    def _wanted(self, network: Float[Tensor, "*batch F N"]) -> Float[Tensor, "*batch N"]:
        """How many bins each head keeps, not rounded."""
        bins, mean = network.shape[-2], network.mean(-2)
        if self.offset is None:
            return torch.full_like(mean, float(self.room(bins)))
        return bins * (LEAST + (MOST - LEAST) * torch.sigmoid(self.offset.to(mean.dtype) + mean))


def _soft(draws: Draws) -> Float[Tensor, "*batch N F"] | None:
    """The relaxation of a choice, which carries its gradient; None where none is wanted."""
    if not draws.scores.requires_grad:
        return None
    # Towards the whole number that is used, so that values and gradients speak of the same choice.
    return soft_topk(draws.scores, draws.wanted + (draws.k - draws.wanted).detach())


def _check(dim: int, base_sparsity: float, num_heads: int, num_freq_bands: int, adaptive: bool) -> None:
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"dim={dim} is not a multiple of num_heads={num_heads}; change one of them")
    if num_freq_bands < 1:
        raise ValueError(f"num_freq_bands={num_freq_bands}; wanted at least 1")
    if adaptive and not LEAST <= base_sparsity <= MOST:
        raise ValueError(
            f"base_sparsity={base_sparsity}; an adaptive selector keeps {LEAST} to {MOST} of the bins: start within, "
            "or say adaptive=False"
        )
    if not 0 < base_sparsity <= 1:
        raise ValueError(f"base_sparsity={base_sparsity}; wanted a share above 0 and up to 1, such as 0.15")
