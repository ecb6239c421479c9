"""Choosing the harmonics that matter at each position."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from undula.ops.topk import gumbel_like, hard_topk, logit_of_share, soft_topk
from undula.shapes import PaddingMask, Sequence
from undula.wave import parts_of

MOMENTUM = 0.99
"""Share of the running averages that stays at each training step."""

EPS = 1e-6
"""Added to the mean amplitude, so that silence has no division by zero."""

Stats = dict[str, Tensor]


class Choice(NamedTuple):
    """What a selector decided: importance, with temperature and noise, how many are wanted and taken, and which."""

    scores: Float[Tensor, "B T H"]
    draws: Float[Tensor, "B T H"]
    wanted: Float[Tensor, "B T"]
    k: Int[Tensor, "B T"]
    chosen: Bool[Tensor, "B T H"]


class AdaptiveHarmonicSelector(nn.Module):
    """Keeps the k most important harmonics of each position, whole; the others become 0 in all three parts.

    score_h = MLP(x)_h + |A_h| / mean |A|, over x = [frequencies | amplitudes | phases]. The k highest of score /
    temperature are kept, in training of score / temperature + Gumbel noise: k draws without replacement. The rule is
    the same in both; each position decides for itself, so neither later positions nor other rows matter. Gradients
    reach the scores and k through a relaxation that sums to k (`ops.topk.soft_topk`), values do not: what is kept is
    kept exactly.

    With `use_dynamic_k` a second MLP gives each position its own k between min_k and H; it starts at k_ratio H.

    Args:
        num_harmonics: harmonics H.
        d_model: width of the representation, 3 H.
        k_ratio: share of harmonics to keep, in (0, 1].
        temperature: of the draw; low temperatures choose as in evaluation.
        min_k: fewest harmonics that are kept; more than H counts as H.
        use_dynamic_k: whether k depends on the position.

    Raises:
        ValueError: for a width other than 3 H, or a value out of range.

    Attributes: noise, size of the noise in training; 0 chooses as in evaluation. base_k, min_k. ema_use (H,), the share
    of positions that keep each harmonic, averaged over training.

    Source: Wave Transformer enhancements, Adaptive Harmonic Sparsification; Kool et al., arXiv 1903.06059.
    """

    ema_k: Tensor
    ema_sparsity: Tensor
    ema_use: Tensor

    def __init__(
        self,
        num_harmonics: int,
        d_model: int,
        k_ratio: float = 0.5,
        temperature: float = 1.0,
        min_k: int = 8,
        use_dynamic_k: bool = True,
    ) -> None:
        super().__init__()
        _check(num_harmonics, d_model, k_ratio, temperature, min_k)
        self.num_harmonics, self.temperature = num_harmonics, temperature
        self.noise = 1.0
        self.min_k = min(min_k, num_harmonics)
        self.base_k = max(self.min_k, int(num_harmonics * k_ratio))
        hidden = max(1, d_model // 2)
        self.score = nn.Sequential(
            nn.Linear(d_model, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, num_harmonics)
        )
        self.share: nn.Sequential | None = None
        if use_dynamic_k:
            last = nn.Linear(hidden, 1)
            above = (self.base_k - self.min_k) / max(num_harmonics - self.min_k, 1)
            nn.init.constant_(last.bias, logit_of_share(above))
            self.share = nn.Sequential(nn.Linear(d_model, hidden), nn.LayerNorm(hidden), nn.SiLU(), last)
        self.register_buffer("ema_k", torch.tensor(float(self.base_k)))
        self.register_buffer("ema_sparsity", torch.tensor(1 - self.base_k / num_harmonics))
        self.register_buffer("ema_use", torch.full((num_harmonics,), self.base_k / num_harmonics))

    def forward(
        self, wave_repr: Sequence, return_stats: bool = True, attention_mask: PaddingMask | None = None
    ) -> tuple[Sequence, Stats | None]:
        """Return the representation with the chosen harmonics alone, and what was chosen; see `select`.

        The statistics are None without `return_stats`.

        Raises:
            ValueError: when the representation is not 3 H wide.
        """
        stats = self.select(wave_repr, attention_mask)
        return self.applied(wave_repr, stats), stats if return_stats else None

    def applied(self, wave_repr: Sequence, stats: Stats) -> Sequence:
        """Return the representation with what was chosen alone; its gradient reaches the choice as well."""
        straight = stats["soft_mask"] - stats["soft_mask"].detach()
        return wave_repr * (stats["selection_mask"] + straight.to(wave_repr.dtype)).repeat(1, 1, 3)

    def choose(
        self, wave_repr: Sequence, attention_mask: PaddingMask | None = None, *, drawn: bool | None = None
    ) -> Choice:
        """Return what is kept of each position, without the relaxation, which takes longer than the choice itself.

        Args:
            wave_repr: frequencies, amplitudes and phases.
            attention_mask: 1 = real position; others count in no average.
            drawn: with noise, and counted in the running averages; None: in training.

        Raises:
            ValueError: when the representation is not 3 H wide.
        """
        drawn = self.training if drawn is None else drawn
        sizes = parts_of(wave_repr, self.num_harmonics)[1].abs()
        scores = self.score(wave_repr) + sizes / (sizes.mean(-1, keepdim=True) + EPS)
        draws = scores / self.temperature
        if drawn:
            draws = draws + self.noise * gumbel_like(draws)
        wanted = self._wanted(wave_repr)
        k = wanted.detach().round().long()
        chosen = hard_topk(draws, k)
        if drawn:
            self._average(k, chosen, attention_mask)
        return Choice(scores, draws, wanted, k, chosen)

    def select(self, wave_repr: Sequence, attention_mask: PaddingMask | None = None) -> Stats:
        """Return what is chosen at each position, and how it came about; arguments as for `choose`.

        Returns:
            importance_scores (B, T, H); selection_mask (B, T, H) of 0 and 1, without gradient; soft_mask (B, T, H), its
            relaxation, and expected_k (B, T), both with gradient; actual_k_mean, sparsity = 1 - k / H, their running
            averages ema_k and ema_sparsity; with a dynamic k also k_values (B, T).
        """
        scores, draws, wanted, k, chosen = self.choose(wave_repr, attention_mask)
        # Towards the whole number that is used, so that values and gradients speak of the same choice.
        soft = soft_topk(draws, wanted + (k - wanted).detach())
        mean_k = _mean(k.float(), attention_mask)
        stats = {
            "importance_scores": scores,
            "selection_mask": chosen.to(wave_repr.dtype),
            "soft_mask": soft,
            "expected_k": wanted,
            "actual_k_mean": mean_k,
            "sparsity": 1 - mean_k / self.num_harmonics,
            "ema_k": self.ema_k.clone(),
            "ema_sparsity": self.ema_sparsity.clone(),
        }
        return stats if self.share is None else {**stats, "k_values": k}

    def _wanted(self, x: Sequence) -> Float[Tensor, "B T"]:
        """How many harmonics each position keeps, not rounded."""
        if self.share is None:
            return x.new_full(x.shape[:2], float(self.base_k))
        return self.min_k + torch.sigmoid(self.share(x)[..., 0]) * (self.num_harmonics - self.min_k)

    @torch.no_grad()
    def _average(self, k: Tensor, chosen: Tensor, attention_mask: PaddingMask | None) -> None:
        mean_k, use = _mean(k.float(), attention_mask), _mean(chosen.to(self.ema_use.dtype), attention_mask)
        self.ema_k.lerp_(mean_k.to(self.ema_k.dtype), 1 - MOMENTUM)
        self.ema_sparsity.lerp_(1 - mean_k.to(self.ema_sparsity.dtype) / self.num_harmonics, 1 - MOMENTUM)
        self.ema_use.lerp_(use, 1 - MOMENTUM)


def _mean(values: Float[Tensor, "B T *rest"], attention_mask: PaddingMask | None) -> Float[Tensor, "*rest"]:
    """The mean over all positions, or over real ones."""
    if attention_mask is None:
        return values.mean((0, 1))
    real = attention_mask.to(values.dtype)
    return torch.einsum("bt,bt...->...", real, values) / real.sum().clamp_min(1)


def _check(num_harmonics: int, d_model: int, k_ratio: float, temperature: float, min_k: int) -> None:
    if d_model != 3 * num_harmonics:
        raise ValueError(f"d_model={d_model} is not 3 x num_harmonics={3 * num_harmonics}; make them agree")
    if not 0 < k_ratio <= 1:
        raise ValueError(f"k_ratio={k_ratio}; wanted a share above 0 and up to 1, such as 0.5")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}; wanted a positive number")
    if min_k < 1:
        raise ValueError(f"min_k={min_k}; wanted at least 1 harmonic")
