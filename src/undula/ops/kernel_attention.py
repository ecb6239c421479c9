"""Attention with another kernel than softmax's exponential: weights that are divided by their sum."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from undula.names import unknown_name

BLOCK = 256
"""Queries that are compared with all keys at once; longer sequences keep no weights and compute them again."""


def elu_plus_one(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return 1 + x for x > 0 and e^x below: elu(x) + 1, exact for small weights too, where the sum would cancel."""
    return x.clamp(max=0).exp() + x.relu()


KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu_plus_one": elu_plus_one,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
}
"""Kernels by name: positive and increasing."""


def known_kernel(name: str) -> str:
    """Return the name of a kernel.

    Raises:
        ValueError: for a name that is none; names the nearest.
    """
    if name not in KERNELS:
        raise unknown_name("kernel", name, KERNELS)
    return name


def kernel_attention(
    q: Float[Tensor, "B N T F"],
    k: Float[Tensor, "B N S F"],
    v: Float[Tensor, "B N S E"],
    kernel: Callable[[Tensor], Tensor],
    *,
    causal: bool,
    key_mask: Bool[Tensor, "B S"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "B N T E"]:
    """Return sum_s w_ts v_s / sum_s w_ts with w_ts = kernel(q_t . k_s) over the keys that query t may see.

    The queries are the last T of the S positions. Where all weights vanish, the output is 0. Time T S (F + E); memory
    for one block of queries: blocks are computed again in the backward pass, and skip the keys after their last query.

    Args:
        q: queries; their length sets how selective the kernel is.
        k: keys.
        v: values.
        kernel: positive function of a score.
        causal: hide keys after the query's own position.
        key_mask: True at real keys; None when all are real.
        dropout: probability of dropping a weight, after the division (give 0 outside training).
    """
    queries, steps = q.shape[2], k.shape[2]
    before = steps - queries
    if queries <= BLOCK:
        return _rows(q, k, v, kernel, before if causal else None, key_mask, dropout)
    blocks = []
    for start in range(0, queries, BLOCK):
        end = min(start + BLOCK, queries)
        seen = before + end if causal else steps
        mask = None if key_mask is None else key_mask[:, :seen]
        here = (q[:, :, start:end], k[:, :, :seen], v[:, :, :seen])
        rows = checkpoint(_rows, *here, kernel, before + start if causal else None, mask, dropout, use_reentrant=False)
        blocks.append(rows)
    return torch.cat(blocks, dim=2)


def _rows(
    q: Float[Tensor, "B N T F"],
    k: Float[Tensor, "B N S F"],
    v: Float[Tensor, "B N S E"],
    kernel: Callable[[Tensor], Tensor],
    first: int | None,
    key_mask: Bool[Tensor, "B S"] | None,
    dropout: float,
) -> Float[Tensor, "B N T E"]:
    """One block of queries; the first of them stands at position `first`, and sees all keys if that is None."""
    weights = kernel(q @ k.transpose(-1, -2))
    if first is not None:
        weights = weights.tril(first)
    if key_mask is not None:
        weights = weights.masked_fill(~key_mask[:, None, None], 0.0)
    total = weights.sum(-1, keepdim=True, dtype=torch.promote_types(weights.dtype, torch.float32))
    mixed = (F.dropout(weights, dropout) if dropout else weights).to(v.dtype) @ v
    # Where nothing is seen, 0 / 1: dividing by something tiny would make gradients infinite.
    return (mixed / total.masked_fill(total <= 0, 1.0)).to(v.dtype)
