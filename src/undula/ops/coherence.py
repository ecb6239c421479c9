"""Phase coherence: how far the waves of two positions swing together, and attention that counts it.

A position has H waves z_h = A_h e^(i phi_h), written as a real vector [A cos phi | A sin phi]. The product of two such
vectors is sum_h A_q A_k cos(phi_q - phi_k), so no tensor of times x times x harmonics exists anywhere.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from undula.names import unknown_name
from undula.ops.attention import sdpa
from undula.ops.phase import full_precision

MODES = ("cosine", "complex")

QUERIES = 64
"""Most queries of a tile on a CPU; with it a tile's passes stay in the caches."""

FUSED_QUERIES = 192
"""The same where the fused kernel attends for a tile, which it does in longer blocks from this number on."""

TILE_ELEMENTS = {"cpu": 2**21}
"""Scores held at once, by type of device; elsewhere 2^26."""


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
    (M = N) the real part joins the product of q and k: attention of width E + F by the fused kernel. Waves that all
    heads share (M = 1) would widen every head: on a CPU their coherence is computed once for a tile of queries and
    biases the kernel in all heads. So does the modulus everywhere, which is no product of two vectors.

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
    if fused and not modulus and (waves.shape[1] == q.shape[1] or q.device.type != "cpu"):
        return _joined(q, k, v, waves, weight, causal, key_mask, dropout)
    batch, queries = q.shape[0], q.shape[2]
    dtype = torch.promote_types(v.dtype, torch.float32)
    kept = None
    if dropout:
        kept = torch.empty(*q.shape[:3], k.shape[2], dtype=torch.bool, device=q.device).bernoulli_(1 - dropout)
        v = v / (1 - dropout)
    rows = [rearrange(t.to(dtype), "b n t e -> (b n) t e") for t in (k, v, waves)]
    grouped = rearrange(q.to(dtype), "b (g r) t e -> (b g) r t e", g=k.shape[1])
    hidden = None if key_mask is None else ~key_mask
    biased = 0 if dropout or not fused else len(weight)
    weight = weight.to(dtype).expand(q.shape[1])
    out = _Coherent.apply(grouped, *rows, weight, kept, hidden, causal, modulus, biased)
    out = rearrange(out, "(b g) r t e -> b (g r) t e", b=batch).to(v.dtype)
    return out if key_mask is None else torch.where(key_mask[:, None, -queries:, None], out, 0.0)


def _joined(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    waves: Tensor,
    weight: Tensor,
    causal: bool,
    key_mask: Tensor | None,
    dropout: float,
) -> Tensor:
    """Attention whose queries and keys have the waves beside them."""
    heads, queries = q.shape[1:3]
    if waves.shape[1] > 1:
        k, v = (repeat(t, "b g s e -> b (g r) s e", r=heads // t.shape[1]) for t in (k, v))
    here = waves[:, :, -queries:].expand(-1, heads, -1, -1) * weight[:, None, None]
    there = waves.expand(-1, k.shape[1], -1, -1)
    q, k = torch.cat([q, here.to(q.dtype)], dim=-1), torch.cat([k, there.to(k.dtype)], dim=-1)
    return sdpa(q, k, v, causal=causal, key_mask=key_mask, dropout=dropout, scale=1.0)


class _Coherent(torch.autograd.Function):
    """Attention and its gradients, tile by tile.

    Keys and values are (B G, S, E), queries (B G, R, T, E) with R = N / G, waves (B M, S, F).
    """

    @staticmethod
    def forward(ctx, q, k, v, waves, weight, kept, hidden, causal, modulus, biased):  # noqa: ANN001, ANN205
        """Return the weighted sums of values (B G, R, T, E); by the fused kernel, with so many biases, unless 0."""
        out = v.new_empty(*q.shape[:3], v.shape[2])
        with full_precision(v):
            scores = _Scores(q, k, waves, weight, hidden, causal, modulus, fused=biased > 0)
            for tile in scores.tiles():
                if biased:
                    _attend(scores, tile, v, out, alike=biased == scores.sets == 1)
                    continue
                share = scores.shares(tile)
                if kept is not None:
                    scores.by_head(share, tile).mul_(kept[tile.b, :, tile.t, tile.s])
                out[tile.g, :, tile.t] = torch.bmm(share, v[tile.g, tile.s]).unflatten(1, (q.shape[1], -1))
        ctx.save_for_backward(q, k, v, waves, weight, kept, hidden, out)
        ctx.options = (causal, modulus)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):  # noqa: ANN001, ANN205
        """Return the gradients of queries, keys, values, waves and weights."""
        q, k, v, waves, weight, kept, hidden, out = ctx.saved_tensors
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        with full_precision(v):
            scores = _Scores(q, k, waves, weight, hidden, *ctx.options)
            slope = torch.zeros_like(waves)
            work = q.new_empty(len(weight) * scores.room)
            along = (d_out * out).sum(-1, keepdim=True)
            for tile in scores.tiles():
                share = scores.shares(tile)
                asked, mixed = (x[tile.g, :, tile.t].flatten(1, 2) for x in (q, d_out))
                d_share = torch.bmm(mixed, v[tile.g, tile.s].mT, out=work[: share.numel()].view_as(share))
                given = share
                if kept is not None:
                    keep = kept[tile.b, :, tile.t, tile.s]
                    given = (scores.by_head(share, tile) * keep).view_as(share)
                    scores.by_head(d_share, tile).mul_(keep)
                d_v[tile.g, tile.s].baddbmm_(given.mT, mixed)
                d_score = d_share.sub_(along[tile.g, :, tile.t].flatten(1, 2)).mul_(share)
                d_q[tile.g, :, tile.t] = torch.bmm(d_score, k[tile.g, tile.s]).unflatten(1, (q.shape[1], -1))
                d_k[tile.g, tile.s].baddbmm_(d_score.mT, asked)
                scores.add(d_score, tile, slope)
        return d_q, d_k, d_v, slope, scores.weight_slope.flatten(), None, None, None, None, None


def _attend(scores: "_Scores", tile: "_Tile", v: Tensor, out: Tensor, alike: bool) -> None:
    """Write a tile of the output by the fused kernel, with a bias on the scores.

    Head after head, so that a bias stays in the caches; at once where heads are alike in their bias.
    """
    q, k, v, out = (x.unflatten(0, (scores.batch, -1))[tile.b] for x in (scores.q, scores.k, v, out))
    for head in range(1 if alike else scores.heads):
        group, place = divmod(head, q.shape[2])
        g, r = (slice(None),) * 2 if alike else (slice(group, group + 1), slice(place, place + 1))
        asked, seen, held = q[:, g, r, tile.t].flatten(1, 2), k[:, g, tile.s], v[:, g, tile.s]
        grouped = asked.shape[1] > seen.shape[1]
        mixed = F.scaled_dot_product_attention(
            asked, seen, held, scores.bias(tile, head), scale=1.0, enable_gqa=grouped
        )
        here = out[:, g, r, tile.t]
        here.copy_(mixed.reshape(here.shape))


class _Tile(NamedTuple):
    """Samples, their rows of key-value heads and of waves, queries, the positions of those, and keys."""

    b: slice
    g: slice
    m: slice
    t: slice
    at: slice
    s: slice


class _Scores:
    """Attention weights of tiles (rows of key-value heads, R times queries, keys), all in the same memory."""

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        waves: Tensor,
        weight: Tensor,
        hidden: Tensor | None,
        causal: bool,
        modulus: bool,
        fused: bool = False,
    ) -> None:
        self.q, self.k, self.hidden, self.causal = q, k, hidden, causal
        self.heads, self.queries, steps = len(weight), q.shape[2], k.shape[1]
        self.batch = q.shape[0] * q.shape[1] // self.heads
        self.sets = len(waves) // self.batch
        self.waves, self.weight = _Waves(waves, modulus), weight.view(self.sets, -1)
        self.weight_slope = torch.zeros_like(self.weight)
        room = TILE_ELEMENTS.get(q.device.type, 2**26) // (steps if fused else self.heads * steps)
        most = (FUSED_QUERIES if fused else QUERIES) if q.device.type == "cpu" else room
        self.asked = max(1, min(room, self.queries, most))
        self.samples = max(1, min(room // self.asked, self.batch))
        self.room = self.samples * self.asked * steps
        self.work = q.new_empty(0)

    def tiles(self) -> Iterator[_Tile]:
        """Return tiles that cover all queries, each with all the keys that they may see."""
        steps, groups = self.k.shape[1], len(self.k) // self.batch
        before = steps - self.queries
        for b, t in product(_pieces(self.batch, self.samples), _pieces(self.queries, self.asked)):
            seen = before + t.stop if self.causal else steps
            g, m = (slice(b.start * rows, b.stop * rows) for rows in (groups, self.sets))
            yield _Tile(b, g, m, t, slice(before + t.start, before + t.stop), slice(0, seen))

    def shares(self, tile: _Tile) -> Tensor:
        """Return softmax(q k^T + weight C + mask) of a tile."""
        asked, seen = self.q[tile.g, :, tile.t].flatten(1, 2), self.k[tile.g, tile.s]
        score = torch.bmm(asked, seen.mT, out=self._memory(self.heads, len(seen), asked.shape[1], seen.shape[1]))
        coherence = self.waves.coherence(tile).unflatten(0, (-1, self.sets))
        self.by_head(score, tile).unflatten(1, self.weight.shape).addcmul_(
            coherence[:, :, None], self.weight[..., None, None]
        )
        self._hide(self.by_head(score, tile), tile)
        return torch.softmax(score, dim=-1, out=score)

    def bias(self, tile: _Tile, head: int) -> Tensor:
        """Return weight C + mask of a tile, (samples, 1, queries, keys), for one head; heads are asked for in order."""
        if head == 0 or self.sets > 1:
            row = head if self.sets > 1 else 0
            self.waves.coherence(tile._replace(m=slice(tile.m.start + row, tile.m.stop, self.sets)))
        coherence = self.waves.size
        bias = torch.mul(coherence, self.weight.flatten()[head], out=self._memory(1, *coherence.shape))[:, None]
        self._hide(bias, tile)
        return bias

    def _memory(self, heads: int, *shape: int) -> Tensor:
        """Return the same memory for every tile: fresh pages for each would cost as much as the arithmetic."""
        if not len(self.work):
            self.work = self.q.new_empty(heads * self.room)
        return self.work[: math.prod(shape)].view(shape)

    def by_head(self, score: Tensor, tile: _Tile) -> Tensor:
        """Return a view of a tile as (samples, N, queries, keys)."""
        return score.view(-1, self.heads, tile.t.stop - tile.t.start, score.shape[2])

    def add(self, d_score: Tensor, tile: _Tile, slope: Tensor) -> None:
        """Add what the gradient of the tile computed last means for the waves and their weights."""
        d_score = self.by_head(d_score, tile).unflatten(1, self.weight.shape).flatten(3)
        coherence = self.waves.size.unflatten(0, (-1, self.sets)).flatten(2)
        self.weight_slope.add_((d_score @ coherence[..., None]).sum(0).squeeze(-1))
        d_coherence = self.weight[:, None] @ d_score
        self.waves.add(d_coherence.view_as(self.waves.size), tile, slope)

    def _hide(self, score: Tensor, tile: _Tile) -> None:
        """Put minus infinity where a key lies after its query, or is not real and not the query itself."""
        first = tile.at.start
        if self.hidden is not None:
            unseen = self.hidden[tile.b, None, tile.s].repeat(1, score.shape[2], 1)
            unseen.diagonal(first, 1, 2).fill_(False)
            score.masked_fill_(unseen[:, None], -torch.inf)
        if self.causal:
            later = torch.ones(score.shape[2], score.shape[2], dtype=torch.bool, device=score.device).triu_(1)
            score[..., first:].masked_fill_(later, -torch.inf)


class _Waves:
    """The coherence of tiles of wave vectors (B M, S, F), and its gradient."""

    def __init__(self, waves: Tensor, modulus: bool) -> None:
        self.waves, self.turned = waves, _turned(waves) if modulus else None
        self.work = [waves.new_empty(0), waves.new_empty(0)]

    def coherence(self, tile: _Tile) -> Tensor:
        """Return the coherence of queries and keys; it stays for `add`."""
        self.along = self.size = self._products(self.waves, tile, 0)
        if self.turned is not None:
            self.across = self._products(self.turned, tile, 1)
            self.size = _modulus(self.along, self.across)
        return self.size

    def _products(self, asked: Tensor, tile: _Tile, place: int) -> Tensor:
        """Products with all keys, in the same memory for every tile; the first tiles are the largest."""
        asked, seen = asked[tile.m, tile.at], self.waves[tile.m, tile.s]
        shape = (len(asked), asked.shape[1], seen.shape[1])
        if math.prod(shape) > len(self.work[place]):
            self.work[place] = asked.new_empty(math.prod(shape))
        return torch.bmm(asked, seen.mT, out=self.work[place][: math.prod(shape)].view(shape))

    def add(self, d: Tensor, tile: _Tile, slope: Tensor) -> None:
        """Add to `slope` what the gradient of the coherence computed last means for the wave vectors."""
        m, at, s = tile.m, tile.at, tile.s
        across = None
        if self.turned is not None:
            d = d.div_(self.size)
            d, across = d * self.along, d * self.across
        asked, seen = self.waves[m, at], self.waves[m, s]
        to_asked = torch.bmm(d, seen)
        slope[m, s].baddbmm_(d.mT, asked)
        if across is not None and self.turned is not None:
            to_asked.sub_(_turned(torch.bmm(across, seen)))
            slope[m, s].baddbmm_(across.mT, self.turned[m, at])
        slope[m, at].add_(to_asked)


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
