"""Choosing k of H: the exact choice, and a smooth one that sums to k and passes gradients on."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

HALVINGS = 40
"""Steps of the search for a threshold: the interval shrinks to the rounding of float32."""

REACH = 20.0
"""How far beyond the scores a threshold is searched, in temperatures: sigmoid(20) is 1 - 2e-9."""


def hard_topk(scores: Float[Tensor, "*batch H"], k: Int[Tensor, "*#batch"] | int) -> Bool[Tensor, "*batch H"]:
    """Return which of the H scores are among the k highest; of equals, those of lower index.

    k may differ from row to row; it is compared on the device, nothing is copied to the host.
    """
    rank = scores.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return rank < (k[..., None] if isinstance(k, Tensor) else k)


def soft_topk(
    scores: Float[Tensor, "*batch H"], k: Float[Tensor, "*#batch"], temperature: float = 1.0
) -> Float[Tensor, "*batch H"]:
    """Return m_h = sigmoid((s_h - theta) / temperature) with the threshold theta for which sum_h m_h = k.

    Differentiable in the scores and in k: with w_h = m_h (1 - m_h), d theta / d s_h = w_h / sum w and d theta / d k =
    -temperature / sum w. The gradients of a row's m add up to 0 over the scores and to 1 over k. theta is found by
    bisection without gradient; O(H) a step. In float32 or wider.

    Args:
        scores: of each candidate.
        k: how many, between 0 and H; need not be whole.
        temperature: the lower, the closer to 0 and 1.

    Source: Martins and Kreutzer, "Learning what's easy", EMNLP 2017 (budgets on sigmoids); Xie et al., "Differentiable
    Top-k with Optimal Transport", arXiv 2002.06504 (the same form for two classes).
    """
    wide = torch.promote_types(scores.dtype, torch.float32)
    s, wanted = scores.to(wide) / temperature, k.to(wide)
    with torch.no_grad():
        low, high = s.amin(-1) - REACH, s.amax(-1) + REACH
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            more = torch.sigmoid(s - middle[..., None]).sum(-1) > wanted
            low, high = torch.where(more, middle, low), torch.where(more, high, middle)
        theta = (low + high) / 2
        kept = torch.sigmoid(s - theta[..., None])
        slope = (kept * (1 - kept)).sum(-1).clamp_min(torch.finfo(wide).tiny)
    # One step of Newton's method at the solution: it changes the value by rounding alone, and carries the gradient.
    step = (torch.sigmoid(s - theta[..., None]).sum(-1) - wanted) / slope
    reached = theta + step.clamp(-1, 1)
    return torch.sigmoid(s - reached[..., None]).to(scores.dtype)


def logit_of_share(share: float) -> float:
    """Return where a sigmoid starts so that it gives `share`; kept off its flat ends, where it would not learn."""
    inside = min(max(share, 0.02), 0.98)
    return math.log(inside / (1 - inside))


def gumbel_like(scores: Float[Tensor, "*batch H"]) -> Float[Tensor, "*batch H"]:
    """Return samples of Gumbel's distribution: the k highest of scores + samples are k draws without replacement.

    Each draw takes h with a chance proportional to exp(s_h) among those that are left.

    Source: Kool et al., "Stochastic Beams and Where to Find Them", arXiv 1903.06059.
    """
    tiny = torch.finfo(scores.dtype).tiny
    return -torch.log(-torch.log(torch.rand_like(scores).clamp(tiny, 1 - torch.finfo(scores.dtype).eps)))
