"""Phase coherence: how far the waves of two positions swing together, and attention that counts it.

A position has H waves z_h = A_h e^(i phi_h), written as a real vector [A cos phi | A sin phi]. The product of two such
vectors is sum_h A_q A_k cos(phi_q - phi_k), so no tensor of times x times x harmonics exists anywhere.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from undula.names import unknown_name
from undula.ops.attention import sdpa
from undula.ops.phase import full_precision

MODES = ("cosine", "complex")

QUERIES = 128
"""Most queries of a tile on a CPU; twice as many in long tiles of a single head. So its passes stay in the caches."""

TILED_WIDTH = 32
"""Width of a head's own waves from which tiles are faster on a CPU: the fused kernel pads values to the keys' width."""

TILE_ELEMENTS = {"cpu": 2**22}
"""Scores held at once, by type of device, elsewhere 2^26; a quarter where a tile is made of several samples."""


def is_complex(mode: str) -> bool:
    """Return whether a mode's coherence is the modulus of the complex correlation, not its real part.

    Raises:
        ValueError: for a name that is no mode; names the nearest.
    """
    if mode not in MODES:
        raise unknown_name("phase_coherence_mode", mode, MODES)
    return mode == "complex"


def wave_vectors(
    phases: Float[Tensor, "*rest H"], amplitudes: Float[Tensor, "*rest H"] | None = None
) -> Float[Tensor, "*rest F"]:
    """Return [A cos phi | A sin phi], F = 2 H, in float32 or wider; amplitudes of 1 where none are given."""
    phases = phases.to(torch.promote_types(phases.dtype, torch.float32))
    cos, sin = phases.cos(), phases.sin()
    return torch.cat([cos, sin] if amplitudes is None else [amplitudes * cos, amplitudes * sin], dim=-1)


def phase_coherence(
    q: Float[Tensor, "*rest T F"], k: Float[Tensor, "*rest S F"], modulus: bool
) -> Float[Tensor, "*rest T S"]:
    """Return Re sum_h z_q conj z_k, or its modulus, from wave vectors: one product of matrices, or two.

    The modulus has the gradient 0 where it is 0. In both, T S F operations and T S numbers.
    """
    along = q @ k.mT
    return _modulus(along, _turned(q) @ k.mT) if modulus else along


def coherent_attention(
    q: Float[Tensor, "B N T E"],
    k: Float[Tensor, "B G S E"],
    v: Float[Tensor, "B G S Ev"],
    waves: Float[Tensor, "B M S F"],
    scale: Float[Tensor, " #N"],
    weight: Float[Tensor, " #N"],
    *,
    modulus: bool,
    causal: bool,
    key_mask: Bool[Tensor, "B S"] | None = None,
    dropout: float = 0.0,
    fused: bool = True,
) -> Float[Tensor, "B N T Ev"]:
    """Return softmax(scale q k^T + weight C + mask) v, C the coherence of the waves of query and key.

    The queries are the last T of the S positions, masks as in `undula.ops.attention.sdpa`. With waves for each head
    (M = N) the real part joins the product of q and k: attention of width E + F, by the fused kernel where that is
    faster. Waves that all heads share (M = 1) would widen every head: on a CPU their coherence is computed once for a
    tile of queries. So is the modulus everywhere, which is no product of two vectors.

    T S (N E + M F) time and O(S (N E + F)) memory (in tiles with dropout, a byte for each score more): the backward
    pass computes each tile again, its gradients are by hand. Tiles are float32 or wider whatever the inputs.

    Args:
        waves: wave vectors, in all heads alike (M = 1) or one set for each (M = N).
        scale: factor on q k^T, one for all heads or one for each.
        weight: factor on C, likewise; one for all takes less memory.
        modulus: C is the modulus of the complex correlation, not its real part.
        causal: hide keys after the query's own position.
        key_mask: True at real keys; None when all are real.
        dropout: probability of dropping an attention weight (give 0 outside training).
        fused: False does without the fused kernel.

    Source: Wave Transformer, enhancements, section 3.
    """
    q = q * scale[:, None, None].to(q.dtype)
    heads, cpu = q.shape[1], q.device.type == "cpu"
    if q.shape[2] == 1 and fused and not dropout:
        return _of_last(q, k, v, waves, weight, key_mask, modulus)
    if modulus or not fused or (cpu and waves.shape[1] < heads):
        return _tiled(q, k, v, waves, weight.expand(heads), key_mask, causal, modulus, dropout)
    if not cpu or waves.shape[-1] < TILED_WIDTH:
        q, k, v = _joined(q, k, v, waves, weight)
        return sdpa(q, k, v, causal=causal, key_mask=key_mask, dropout=dropout, scale=1.0)
    wide = torch.promote_types(q.dtype, waves.dtype)
    q, k, v = _joined(q.to(wide), k.to(wide), v, waves, weight)
    # Nothing is shared by the heads any more, so they are samples.
    rows = [t.flatten(0, 1)[:, None] for t in (q, k, v)]
    real = None if key_mask is None else key_mask.repeat_interleave(heads, dim=0)
    return _tiled(rows[0], rows[1], rows[2], None, None, real, causal, False, dropout)[:, 0].unflatten(0, q.shape[:2])


def _of_last(
    q: Tensor, k: Tensor, v: Tensor, waves: Tensor, weight: Tensor, key_mask: Tensor | None, modulus: bool
) -> Tensor:
    """Attention of a single query, which stands last: its coherence is a short bias, and keys need not be copied."""
    dtype = torch.promote_types(v.dtype, torch.float32)
    q, k, held, waves = (t.to(dtype) for t in (q, k, v, waves))
    with full_precision(held):
        bias = phase_coherence(waves[:, :, -1:], waves, modulus) * weight.to(dtype)[:, None, None]
        bias = bias.expand(-1, q.shape[1], -1, -1)
        if key_mask is not None:
            itself = torch.arange(k.shape[2], device=k.device) == k.shape[2] - 1
            bias = bias.masked_fill(~(key_mask | itself)[:, None, None], -torch.inf)
        grouped = q.shape[1] > k.shape[1]
        out = F.scaled_dot_product_attention(q, k, held, bias, scale=1.0, enable_gqa=grouped).to(v.dtype)
    return out if key_mask is None else torch.where(key_mask[:, None, -1:, None], out, 0.0)


def _joined(q: Tensor, k: Tensor, v: Tensor, waves: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries and keys with the waves beside them, and values for each of those keys."""
    heads, queries = q.shape[1:3]
    if waves.shape[1] > 1:
        k, v = (repeat(t, "b g s e -> b (g r) s e", r=heads // t.shape[1]) for t in (k, v))
    here = waves[:, :, -queries:].expand(-1, heads, -1, -1) * weight[:, None, None]
    there = waves.expand(-1, k.shape[1], -1, -1)
    return torch.cat([q, here.to(q.dtype)], dim=-1), torch.cat([k, there.to(k.dtype)], dim=-1), v


def _tiled(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    waves: Tensor | None,
    weight: Tensor | None,
    key_mask: Tensor | None,
    causal: bool,
    modulus: bool,
    dropout: float,
) -> Tensor:
    """Attention in tiles of float32 or wider."""
    dtype, queries = torch.promote_types(v.dtype, torch.float32), q.shape[2]
    kept = None
    if dropout:
        kept = torch.empty(*q.shape[:3], k.shape[2], dtype=torch.bool, device=q.device).bernoulli_(1 - dropout)
        v = v / (1 - dropout)
    given = (None if t is None else t.to(dtype) for t in (q, k, v, waves, weight))
    hidden = None if key_mask is None else ~key_mask
    out = _Coherent.apply(*given, kept, hidden, causal, modulus).to(v.dtype)
    return out if key_mask is None else torch.where(key_mask[:, None, -queries:, None], out, 0.0)


class _Coherent(torch.autograd.Function):
    """Attention and its gradients, tile by tile, from (B, heads, time, channels) each."""

    @staticmethod
    def forward(ctx, q, k, v, waves, weight, kept, hidden, causal, modulus):  # noqa: ANN001, ANN205
        """Return the weighted sums of values (B, N, T, Ev); without waves the scores are q k^T."""
        out = v.new_empty(*q.shape[:3], v.shape[3])
        with full_precision(v):
            scores = _Scores(q, k, waves, weight, hidden, causal, modulus)
            for tile in scores.tiles():
                share = scores.shares(tile)
                if kept is not None:
                    share.mul_(kept[tile.b, tile.head, tile.t, tile.s])
                out[tile.b, tile.head, tile.t] = torch.bmm(share, v[tile.b, tile.group, tile.s])
        ctx.save_for_backward(q, k, v, waves, weight, kept, hidden, out)
        ctx.options = (causal, modulus)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):  # noqa: ANN001, ANN205
        """Return the gradients of queries, keys, values, waves and weights."""
        q, k, v, waves, weight, kept, hidden, out = ctx.saved_tensors
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        slopes = [] if waves is None else [torch.zeros_like(waves), torch.zeros_like(weight)]
        with full_precision(v):
            scores = _Scores(q, k, waves, weight, hidden, *ctx.options)
            work = q.new_empty(scores.room)
            along = (d_out * out).sum(-1, keepdim=True)
            for tile in scores.tiles():
                share = scores.shares(tile)
                asked, mixed = q[tile.b, tile.head, tile.t], d_out[tile.b, tile.head, tile.t]
                seen, held = k[tile.b, tile.group, tile.s], v[tile.b, tile.group, tile.s]
                d_share = torch.bmm(mixed, held.mT, out=work[: share.numel()].view_as(share))
                given = share
                if kept is not None:
                    keep = kept[tile.b, tile.head, tile.t, tile.s]
                    given = share * keep
                    d_share.mul_(keep)
                d_v[tile.b, tile.group, tile.s].baddbmm_(given.mT, mixed)
                d_score = d_share.sub_(along[tile.b, tile.head, tile.t]).mul_(share)
                d_q[tile.b, tile.head, tile.t] = torch.bmm(d_score, seen)
                d_k[tile.b, tile.group, tile.s].baddbmm_(d_score.mT, asked)
                if scores.waves is not None:
                    scores.waves.add(d_score, tile, *slopes)
        return d_q, d_k, d_v, *(slopes or (None, None)), None, None, None, None


class _Tile(NamedTuple):
    """Samples, a head and its keys' one, queries, the positions of those, and keys."""

    b: slice
    head: int
    group: int
    t: slice
    at: slice
    s: slice


class _Scores:
    """Attention weights of tiles (samples, queries, keys), all in the same memory: fresh pages cost as much as work."""

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        waves: Tensor | None,
        weight: Tensor | None,
        hidden: Tensor | None,
        causal: bool,
        modulus: bool,
    ) -> None:
        self.q, self.k, self.hidden = q, k, hidden
        batch, self.heads, self.queries = q.shape[:3]
        steps = k.shape[2]
        room = TILE_ELEMENTS.get(q.device.type, 2**26) // steps
        most = QUERIES * (1 if waves is None or steps < 1024 else 2) if q.device.type == "cpu" else room
        self.asked = max(1, min(room, self.queries, most))
        self.samples = max(1, min(room // 4 // self.asked, batch))
        self.room = self.samples * self.asked * steps
        self.work = q.new_empty(self.room)
        self.later = q.new_full((self.asked, self.asked), -torch.inf).triu_(1) if causal else None
        self.waves = None if waves is None or weight is None else _Waves(waves, weight, modulus, self.room)

    def tiles(self) -> Iterator[_Tile]:
        """Return tiles that cover all queries, each with all the keys that they may see, head after head."""
        (batch, groups, steps), before = self.k.shape[:3], self.k.shape[2] - self.queries
        for b, t in product(_pieces(batch, self.samples), _pieces(self.queries, self.asked)):
            at = slice(before + t.start, before + t.stop)
            for head in range(self.heads):
                yield _Tile(
                    b, head, head * groups // self.heads, t, at, slice(0, steps if self.later is None else at.stop)
                )

    def shares(self, tile: _Tile) -> Tensor:
        """Return softmax(q k^T + weight C + mask) of a tile."""
        asked, seen = self.q[tile.b, tile.head, tile.t], self.k[tile.b, tile.group, tile.s]
        score = _product(asked, seen, self.work)
        if self.waves is not None:
            score.addcmul_(self.waves.coherence(tile), self.waves.weight[tile.head])
        self._hide(score, tile)
        return torch.softmax(score, dim=-1, out=score)

    def _hide(self, score: Tensor, tile: _Tile) -> None:
        """Put minus infinity where a key lies after its query, or is not real and not the query itself."""
        first = tile.at.start
        if self.hidden is not None:
            unseen = self.hidden[tile.b, None, tile.s].repeat(1, score.shape[1], 1)
            unseen.diagonal(first, 1, 2).fill_(False)
            score.masked_fill_(unseen, -torch.inf)
        if self.later is not None:
            score[..., first:].add_(self.later[: score.shape[1], : score.shape[1]])


class _Waves:
    """The coherence of tiles of wave vectors (B, M, S, F) with weights for each head, and its gradient."""

    def __init__(self, waves: Tensor, weight: Tensor, modulus: bool, room: int) -> None:
        self.waves, self.turned, self.weight = waves, _turned(waves) if modulus else None, weight
        self.shared = waves.shape[1] == 1
        self.work = [waves.new_empty(room) for _ in range(3 if modulus else 2)]

    def coherence(self, tile: _Tile) -> Tensor:
        """Return the coherence of queries and keys, the same for all heads that share waves; it stays for `add`."""
        if tile.head and self.shared:
            return self.size
        self.along = self.size = self._products(self.waves, tile, 0)
        if self.turned is not None:
            self.across = self._products(self.turned, tile, 2)
            self.size = _modulus(self.along, self.across)
        return self.size

    def add(self, d_score: Tensor, tile: _Tile, slope: Tensor, weight_slope: Tensor) -> None:
        """Add to the slopes what the gradient of the scores computed last means for the waves and their weights."""
        head, heads = tile.head, len(self.weight)
        weight_slope[head].add_(d_score.flatten() @ self.size.flatten())
        d = self.work[1][: d_score.numel()].view_as(d_score)
        if head and self.shared:
            d.addcmul_(d_score, self.weight[head])
        else:
            torch.mul(d_score, self.weight[head], out=d)
        if not self.shared or head == heads - 1:
            self._add(d, 0 if self.shared else head, tile, slope)

    def _products(self, asked: Tensor, tile: _Tile, place: int) -> Tensor:
        m = 0 if self.shared else tile.head
        return _product(asked[tile.b, m, tile.at], self.waves[tile.b, m, tile.s], self.work[place])

    def _add(self, d: Tensor, m: int, tile: _Tile, slope: Tensor) -> None:
        """Add to the slope what the gradient of the coherence means for the wave vectors."""
        b, at, s = tile.b, tile.at, tile.s
        across = None
        if self.turned is not None:
            d = d.div_(self.size)
            d, across = d * self.along, d * self.across
        asked, seen = self.waves[b, m, at], self.waves[b, m, s]
        to_asked = torch.bmm(d, seen)
        slope[b, m, s].baddbmm_(d.mT, asked)
        if across is not None and self.turned is not None:
            to_asked.sub_(_turned(torch.bmm(across, seen)))
            slope[b, m, s].baddbmm_(across.mT, self.turned[b, m, at])
        slope[b, m, at].add_(to_asked)


def _product(asked: Tensor, seen: Tensor, memory: Tensor) -> Tensor:
    """Return the products of queries and keys, written into the front of a memory."""
    shape = (len(asked), asked.shape[1], seen.shape[1])
    return torch.bmm(asked, seen.mT, out=memory[: math.prod(shape)].view(shape))


def _pieces(length: int, size: int) -> Iterator[slice]:
    """Slices of a length, last first: causal tiles shrink then, and what they need fits where the last one's lay."""
    return (slice(start, min(start + size, length)) for start in reversed(range(0, length, size)))


def _turned(waves: Tensor) -> Tensor:
    """Return the vectors of waves turned back by a quarter: [A sin phi | -A cos phi]."""
    cos, sin = waves.chunk(2, dim=-1)
    return torch.cat([sin, -cos], dim=-1)


def _modulus(along: Tensor, across: Tensor) -> Tensor:
    """Return sqrt(along^2 + across^2); the smallest number under the root keeps the gradient finite at 0."""
    return (along.square() + across.square() + torch.finfo(along.dtype).tiny).sqrt_()
