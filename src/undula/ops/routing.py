"""Which experts a token goes to, and how evenly they are used."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def top_experts(
    scores: Float[Tensor, "N experts"], active: int
) -> tuple[Int[Tensor, "N active"], Float[Tensor, "N active"]]:
    """Return the experts with the highest scores for each of N tokens, best first, and their weights.

    Weights are p_e = softmax(scores)_e of those experts, divided by their sum. Where one expert alone is active, its
    weight is p_e itself: divided, it would be 1 whatever the scores, and they would have no gradient.

    Source: Shazeer et al., "Outrageously Large Neural Networks", arXiv 1701.06538; Fedus et al., "Switch Transformers",
    arXiv 2101.03961 (one expert).
    """
    chances = scores.softmax(-1)
    weights, experts = chances.topk(active, dim=-1)
    return experts, weights if active == 1 else weights / weights.sum(-1, keepdim=True)


def load_balance(
    scores: Float[Tensor, "N experts"], chosen: Int[Tensor, "N active"], real: Bool[Tensor, " N"] | None = None
) -> Float[Tensor, ""]:
    """Return E sum_e f_e P_e: f_e the share of all choices that fall on expert e, P_e the mean of softmax(scores)_e.

    1 where either is even, E where one expert takes all. Its gradient, through P_e, lowers the scores of experts in
    proportion to how much they are used, so none stays idle.

    Args:
        scores: of each of E experts for each of N tokens.
        chosen: the experts of each token.
        real: tokens that count; None: all.

    Source: Fedus et al., "Switch Transformers", arXiv 2101.03961, section 2.2.
    """
    experts = scores.shape[-1]
    used = torch.zeros_like(scores).scatter(-1, chosen, 1.0)
    chances = scores.softmax(-1)
    if real is not None:
        used, chances = torch.where(real[:, None], used, 0.0), torch.where(real[:, None], chances, 0.0)
    shares = used.sum(0) / used.sum().clamp_min(1)
    tokens = chances.sum().detach().clamp_min(1)
    return experts * (shares * chances.sum(0) / tokens).sum()
