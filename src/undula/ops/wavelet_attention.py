"""Attention over the causal wavelet tree on a grid: each level has a value for 2^level positions, after the last.

Values m of level j stand at positions (m + 1) 2^j - 1, where `ops.wavelet_tree` has the same ones: what is kept for
the next position grows with the number of levels, the logarithm of how far back they reach. Rows of a batch may be at
different positions: they are told by how many positions each has behind it.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from undula.ops.attention import chosen_sdpa

BLOCK = 64
"""Queries that are given the same keys to choose from."""


def rows_at(x: Float[Tensor, "B S C"], index: Int[Tensor, "B R"]) -> Float[Tensor, "B R C"]:
    """Return values of each row at positions of its own."""
    rows = torch.arange(len(x), device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (rows + index).flatten()).unflatten(0, index.shape)


def tree_step(
    x: Float[Tensor, "B M C"], past: Float[Tensor, "B K C"], low: Float[Tensor, " L"], before: Int[Tensor, " B"]
) -> tuple[Float[Tensor, "B M C"], Float[Tensor, "B half C"]]:
    """Return the smoothed values of a level, and those of them that are the next level's values.

    coarse(m) = sum_k low_k x(m - k) / sum of low; the next level has coarse(1), coarse(3), ...: half of M rounded up,
    where the last one is not yet known and means nothing if an odd number of values is there in all.

    Args:
        x: the values of a level.
        past: the K >= L - 1 values before them, zeros where there are none.
        low: taps of a low-pass filter, that of the present first.
        before: how many values each row has before x.
    """
    steps, reach = x.shape[1], past.shape[1]
    whole = torch.cat([past, x], dim=1)
    weights = (low / low.sum()).to(x.dtype)
    coarse = weights[0] * x
    for k in range(1, len(low)):
        coarse = torch.addcmul(coarse, weights[k], whole[:, reach - k : reach - k + steps])
    at = 2 * torch.arange((steps + 1) // 2, device=x.device) + 1 - (before & 1)[:, None]
    return coarse, rows_at(coarse, at.clamp_max(steps - 1))


def tree_attention(
    q: Float[Tensor, "B T N E"],
    levels: Sequence[Float[Tensor, "B _ C2"]],
    before: Int[Tensor, " B"],
    window: int,
    kept: int,
    *,
    dropout: float = 0.0,
) -> Float[Tensor, "B T C"]:
    """Return softmax attention of each query over the last `window` values of every level, all levels in one softmax.

    A value of level j is there when its 2^j positions are: the query's own position is the last that counts. Cost
    T (levels window + 2 BLOCK) E N.

    Args:
        q: queries at consecutive positions.
        levels: keys and values side by side, N E channels each, finest level first; what they hold beyond the last
            position is never looked at.
        before: how many positions each row has before the first query.
        window: values that a query sees of each level.
        kept: how many of each level's values are from before: all that the window needs; 0 where there were none.
        dropout: probability of dropping an attention weight (give 0 outside training).
    """
    steps = q.shape[1]
    size = min(BLOCK, steps)
    blocks = -(-steps // size)
    # Queries that fill up the last block see what the last one sees, so that none sees nothing.
    at = before[:, None] + torch.arange(blocks * size, device=q.device).clamp_max(steps - 1)
    at = at.unflatten(1, (blocks, size))
    taken, allowed = [], []
    for level, values in enumerate(levels):
        base = (before >> level) - kept
        span = min(values.shape[1], window + -(-size // 2**level))
        known = (at + 1) >> level
        start = (known[..., 0] - window - base[:, None]).clamp(0, values.shape[1] - span)
        index = start[..., None] + torch.arange(span, device=q.device)
        whole = blocks == 1 and span == values.shape[1]
        taken.append(values[:, None] if whole else rows_at(values, index.flatten(1)).unflatten(1, (blocks, span)))
        number = (index + base[:, None, None])[:, :, None]
        newest = known[..., None]
        allowed.append((number >= 0) & (number < newest) & (number >= newest - window))
    keys, values = rearrange(
        torch.cat(taken, dim=2), "b blocks s (kind n e) -> kind (b blocks) n s e", kind=2, n=q.shape[2]
    )
    queries = F.pad(q, (0, 0, 0, 0, 0, blocks * size - steps))
    queries = rearrange(queries, "b (blocks t) n e -> (b blocks) n t e", blocks=blocks)
    seen = torch.cat(allowed, dim=-1).flatten(0, 1)
    out = chosen_sdpa(queries, keys, values, seen, dropout=dropout)
    return rearrange(out, "(b blocks) n t e -> b (blocks t) (n e)", blocks=blocks)[:, :steps]
