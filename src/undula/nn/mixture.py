"""A mixture of experts: many feed-forwards, of which each position uses a few."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.nn.feed_forward import SwiGLU
from undula.ops.routing import load_balance, top_experts
from undula.shapes import PaddingMask, Sequence


class MixtureOfExperts(nn.Module):
    """The weighted sum of the few experts that a router chooses for each position: sum_e w_e(x) SwiGLU_e(x).

    Positions are gathered by expert, so each costs `num_active` feed-forwards however many there are. None is dropped:
    an expert takes as many as choose it, so neither other rows nor later positions matter. The router computes in
    float32 or wider. How many positions each expert has is copied to the host, once a call. Experts have no dropout
    inside: which position its noise falls on would depend on where other positions go.

    Args:
        d_model: width.
        d_ff: hidden width of each expert.
        num_experts: experts in all.
        num_active: experts that each position uses.
        balance: weight of the load-balance loss beside the nats per token.

    Raises:
        ValueError: when more experts are to be active than there are, or a number is not positive.

    Source: Shazeer et al., arXiv 1701.06538; Fedus et al., arXiv 2101.03961 (load balance); Gale et al.,
    "MegaBlocks", arXiv 2211.15841 (no position dropped).
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        num_experts: int = 8,
        num_active: int = 2,
        *,
        balance: float = 0.01,
    ) -> None:
        super().__init__()
        if not 1 <= num_active <= num_experts:
            raise ValueError(
                f"num_active={num_active} of num_experts={num_experts}; wanted at least 1 and at most all of them"
            )
        if not balance >= 0:
            raise ValueError(f"balance={balance}; wanted 0 or more")
        self.num_active, self.balance = num_active, balance
        self.router = nn.Linear(d_model, num_experts, bias=False)
        self.experts = nn.ModuleList(SwiGLU(d_model, d_ff) for _ in range(num_experts))
        self._uneven: Tensor | None = None

    def forward(self, x: Sequence, attention_mask: PaddingMask | None = None) -> Sequence:
        """Return what the experts of each position make of it; in training, note how evenly they are used.

        Args:
            x: the sequence.
            attention_mask: 1 = real position; the others do not count in the load-balance loss.
        """
        tokens = x.flatten(0, 1)
        scores = self._scores(tokens)
        chosen, weights = top_experts(scores, self.num_active)
        learns = self.training and torch.is_grad_enabled()
        real = None if attention_mask is None else attention_mask.bool().flatten()
        self._uneven = load_balance(scores, chosen, real) if learns else None
        outputs = self._computed(tokens, chosen.flatten())
        mixed = (outputs.unflatten(0, chosen.shape) * weights[..., None].to(outputs.dtype)).sum(1)
        return mixed.view_as(x)

    def _scores(self, tokens: Float[Tensor, "N D"]) -> Float[Tensor, "N experts"]:
        wide = torch.promote_types(tokens.dtype, torch.float32)
        with torch.autocast(tokens.device.type, enabled=False):
            return F.linear(tokens.to(wide), self.router.weight.to(wide))

    def _computed(self, tokens: Float[Tensor, "N D"], chosen: Tensor) -> Float[Tensor, "pairs D"]:
        """What each pair of token and expert gives, in the order of `chosen`."""
        pairs = tokens.repeat_interleave(self.num_active, dim=0)
        # Permutations there and back, whose gradients need no sums: the same to the last bit in every run.
        order = chosen.argsort(stable=True)
        counts = torch.bincount(chosen, minlength=len(self.experts)).tolist()
        parts = pairs[order].split(counts)
        done = [expert(part) for expert, part in zip(self.experts, parts, strict=True)]
        return torch.cat(done)[order.argsort()]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy of the module holds: no loss that was not taken, whose graph cannot be copied."""
        return {**self.__dict__, "_uneven": None}

    def aux_loss(self) -> Tensor | None:
        """Return the load-balance loss of the last forward pass in training, with its weight, once."""
        uneven, self._uneven = self._uneven, None
        return None if uneven is None else self.balance * uneven


def feed_forward(ffn: nn.Module, x: Sequence, attention_mask: PaddingMask | None) -> Sequence:
    """Return a feed-forward's output; a mixture of experts is told which positions are real."""
    return ffn(x, attention_mask) if isinstance(ffn, MixtureOfExperts) else ffn(x)
