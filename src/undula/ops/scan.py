"""Causal linear attention: sums over the past without a table of all pairs, in chunks that carry a state."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from undula.ops.phase import full_precision

CHUNK = 64
"""Steps that are compared pair by pair; what lies further back enters through the state."""


def causal_linear_attention(
    q: Float[Tensor, "B N T F"],
    k: Float[Tensor, "B N T F"],
    v: Float[Tensor, "B N T E"],
    state: Float[Tensor, "B N F E"] | None = None,
) -> tuple[Float[Tensor, "B N T E"], Float[Tensor, "B N F E"]]:
    """Return out_t = q_t (state + sum over s <= t of k_s v_s^T), and the state after the last step.

    Within a chunk of C steps out = tril(q k^T) v; between chunks the sum of k_s v_s^T is carried. Time grows with
    T (C (F + E) + F E), memory with T (F + E + C) + (T / C) F E: nothing of size (T, F, E) exists. Computed in float32
    or wider, also under autocast; the outputs have the type of v, the state keeps the wide one.

    Args:
        q: queries, as features.
        k: keys, as features; zeros where a position does not count.
        v: values; a column of ones among them gives the normaliser q_t sum_s k_s.
        state: sum of k_s v_s^T over what came before; None: nothing came before.

    Source: Katharopoulos et al., "Transformers are RNNs", arXiv 2006.16236; chunks as in Hua et al., arXiv 2202.10447.
    """
    steps, given = v.shape[2], v.dtype
    wide = _wide(q, v, state)
    chunk = max(1, min(CHUNK, steps))
    with full_precision(v):
        q, k, v = (_in_chunks(t.to(wide), chunk) for t in (q, k, v))
        sums = _with_first(k.transpose(-1, -2) @ v, state).cumsum(2)
        out = (q @ k.transpose(-1, -2)).tril() @ v + q @ sums[:, :, :-1]
    return rearrange(out, "b n c l e -> b n (c l) e")[:, :, :steps].to(given), sums[:, :, -1]


def linear_attention(
    q: Float[Tensor, "B N T F"],
    k: Float[Tensor, "B N T F"],
    v: Float[Tensor, "B N T E"],
    state: Float[Tensor, "B N F E"] | None = None,
) -> tuple[Float[Tensor, "B N T E"], Float[Tensor, "B N F E"]]:
    """Return out_t = q_t (state + sum over all s of k_s v_s^T), and that sum: every query sees every key.

    Time and memory grow with T. Types and arguments as in `causal_linear_attention`.
    """
    wide = _wide(q, v, state)
    with full_precision(v):
        total = k.to(wide).transpose(-1, -2) @ v.to(wide)
        total = total if state is None else total + state
        return (q.to(wide) @ total).to(v.dtype), total


def _wide(q: Tensor, v: Tensor, state: Tensor | None) -> torch.dtype:
    """The type to add up in: float32, or the widest that is given."""
    wide = torch.promote_types(torch.promote_types(q.dtype, v.dtype), torch.float32)
    return wide if state is None else torch.promote_types(wide, state.dtype)


def _in_chunks(x: Float[Tensor, "B N T E"], chunk: int) -> Float[Tensor, "B N C L E"]:
    """Split the time axis, with zeros after the end."""
    return rearrange(F.pad(x, (0, 0, 0, -x.shape[2] % chunk)), "b n (c l) e -> b n c l e", l=chunk)


def _with_first(sums: Float[Tensor, "B N C F E"], first: Float[Tensor, "B N F E"] | None) -> Tensor:
    """Put the state before the first chunk's sum."""
    if first is None:
        return F.pad(sums, (0, 0, 0, 0, 1, 0))
    return torch.cat([first.to(sums.dtype)[:, :, None], sums], dim=2)
