"""From scores to the next token."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def drawn(
    logits: Float[Tensor, "B V"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "B 1"]:
    """Return one token for each row, drawn by softmax(logits / temperature) among the best.

    Args:
        logits: scores of V tokens.
        temperature: near 0 the best token is always taken.
        top_k: draw from this many best tokens only; None: from all.
        top_p: draw only from the fewest best tokens whose chances, those of `top_k` alone, reach this sum; the token
            that reaches it is among them, so there is always one.
        generator: of the random numbers.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", arXiv 1904.09751 (top_p).
    """
    best, tokens = logits.float().topk(min(top_k or logits.shape[-1], logits.shape[-1]))
    # Against the best score, so that a small temperature does not overflow.
    chances = torch.softmax((best - best[:, :1]) / temperature, dim=-1)
    reached_before = chances.cumsum(-1) - chances >= top_p
    # The first token has nothing before it, rounding or not.
    reached_before[:, 0] = False
    chances = torch.where(reached_before, 0.0, chances)
    return tokens.gather(1, torch.multinomial(chances, 1, generator=generator))


def less_repetition(
    logits: Float[Tensor, "B V"],
    tokens: Int[Tensor, "B T"],
    penalty: float,
    real: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, "B V"]:
    """Return scores that are worse for tokens that occurred: positive ones divided by the penalty, others multiplied.

    Args:
        logits: scores of V tokens.
        tokens: what occurred.
        penalty: above 1 for less repetition; 1 changes nothing.
        real: which of `tokens` count; None: all.

    Source: Keskar et al., "CTRL", arXiv 1909.05858, with the sign minded: dividing a negative score would raise it.
    """
    counted = torch.ones_like(tokens, dtype=logits.dtype) if real is None else real.to(logits.dtype)
    occurred = torch.zeros_like(logits).scatter_reduce(1, tokens, counted, "amax") > 0
    return torch.where(occurred, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
