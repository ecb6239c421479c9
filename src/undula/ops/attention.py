"""Softmax attention: the one door to `torch.nn.functional.scaled_dot_product_attention`."""

import contextlib

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def sdpa(
    q: Float[Tensor, "B N T E"],
    k: Float[Tensor, "B G S E"],
    v: Float[Tensor, "B G S Ev"],
    *,
    causal: bool,
    key_mask: Bool[Tensor, "B S"] | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
    fused: bool = True,
) -> Float[Tensor, "B N T Ev"]:
    """Return softmax(scale * q k^T + mask) v.

    The queries are the last T of the S positions: query i stands at position S - T + i. Query heads share key-value
    heads in groups of N / G. A query at a padded position gets zeros; every query sees at least itself, so a row of
    nothing but padding stays finite.

    Args:
        causal: hide keys after the query's own position.
        key_mask: True at real keys; None when all are real.
        dropout: probability of dropping an attention weight (give 0 outside training).
        scale: factor on the scores; 1 / sqrt(E) by default.
        fused: False restricts to the unfused reference kernel.
    """
    steps, width = v.shape[-2], v.shape[-1]
    q, k, v, scale = _fusable(q, k, v, q.shape[-1] ** -0.5 if scale is None else scale)
    queries = q.shape[-2]
    # A single query is the last position: nothing comes after it.
    square = causal and key_mask is None and queries == steps
    allowed = None if square else _allowed(queries, steps, causal and queries > 1, key_mask, q.device)
    with contextlib.nullcontext() if fused else sdpa_kernel(SDPBackend.MATH):
        out = F.scaled_dot_product_attention(
            q, k, v, allowed, dropout, is_causal=square, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )[..., :width]
    if key_mask is None:
        return out
    return torch.where(key_mask[:, None, steps - queries :, None], out, 0.0)


def chosen_sdpa(
    q: Float[Tensor, "B N T E"],
    k: Float[Tensor, "B N S E"],
    v: Float[Tensor, "B N S Ev"],
    allowed: Bool[Tensor, "B T S"],
    *,
    dropout: float = 0.0,
) -> Float[Tensor, "B N T Ev"]:
    """Return softmax(q k^T / sqrt(E)) v over the keys that each query may see, of which there must be one at least.

    Args:
        allowed: True where a query sees a key.
        dropout: probability of dropping an attention weight (give 0 outside training).
    """
    width = v.shape[-1]
    q, k, v, scale = _fusable(q, k, v, q.shape[-1] ** -0.5)
    return F.scaled_dot_product_attention(q, k, v, allowed[:, None], dropout, scale=scale)[..., :width]


def cross_sdpa(
    q: Float[Tensor, "B N T E"],
    k: Float[Tensor, "B N S E"],
    v: Float[Tensor, "B N S Ev"],
    key_mask: Bool[Tensor, "B S"] | None = None,
) -> Float[Tensor, "B N T Ev"]:
    """Return softmax(q k^T / sqrt(E)) v over the keys of another sequence; zeros where none of its keys is real.

    Args:
        key_mask: True at real keys; None when all are real.
    """
    width, allowed = v.shape[-1], None
    if key_mask is not None:
        some = key_mask.any(-1, keepdim=True)
        allowed = (key_mask | ~some)[:, None, None]
    q, k, v, scale = _fusable(q, k, v, q.shape[-1] ** -0.5)
    out = F.scaled_dot_product_attention(q, k, v, allowed, scale=scale)[..., :width]
    return out if key_mask is None else torch.where(key_mask.any(-1)[:, None, None, None], out, 0.0)


def cross_weights(
    q: Float[Tensor, "B N T E"],
    k: Float[Tensor, "B N S E"],
    key_mask: Bool[Tensor, "B S"] | None = None,
    bias: Float[Tensor, "B N T S"] | None = None,
) -> Float[Tensor, "B N T S"]:
    """Return softmax(q k^T / sqrt(E) + bias), 0 at keys that are not real: the weights that `cross_sdpa` gives keys."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    if key_mask is None:
        return scores.softmax(-1)
    real = key_mask[:, None, None]
    weights = torch.where(real | ~real.any(-1, keepdim=True), scores, -torch.inf).softmax(-1)
    return torch.where(real, weights, 0.0)


def joined_mask(
    before: Bool[Tensor, "B S"] | None, now: Bool[Tensor, "B T"] | None, past: int, x: Float[Tensor, "B T D"]
) -> Bool[Tensor, "B all"] | None:
    """Return which positions are real, the `past` earlier ones and those of x; None while there is no padding."""
    if before is None and now is None:
        return None
    batch, steps = x.shape[:2]
    before = x.new_ones(batch, past, dtype=torch.bool) if before is None else before
    now = x.new_ones(batch, steps, dtype=torch.bool) if now is None else now
    return torch.cat([before, now], dim=1)


def _fusable(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor, float]:
    """Zero-pad to one width and lay channels side by side: else the CPU takes the unfused path, many times slower."""
    wide = max(q.shape[-1], v.shape[-1])
    q, k, v = (F.pad(t, (0, wide - t.shape[-1])) if t.shape[-1] < wide else t for t in (q, k, v))
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    return q, k, v, scale


def _allowed(
    queries: int, steps: int, causal: bool, key_mask: Bool[Tensor, "B S"] | None, device: torch.device
) -> Bool[Tensor, "#B 1 #T S"] | None:
    """Return which keys each query may see; None when all of them."""
    if not causal and key_mask is None:
        return None
    keys = torch.arange(steps, device=device)
    at = torch.arange(steps - queries, steps, device=device)[:, None]
    past = (keys <= at)[None, None] if causal else torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
    if key_mask is None:
        return past
    return (past & key_mask[:, None, None]) | (keys == at)
