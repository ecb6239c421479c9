"""Attention between two bands of a pyramid."""

from collections.abc import Sequence as Listed
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from undula.mixers.base import State, Traits, silenced
from undula.ops.attention import joined_mask, sdpa
from undula.ops.rotary import rotary_table, rotate
from undula.shapes import PaddingMask

Real = Bool[Tensor, "B T"]


@dataclass
class CrossState(State):
    """Keys and values of both bands so far, and which positions are real (None: all)."""

    keys: Float[Tensor, "B N S E"]
    values: Float[Tensor, "B N S E"]
    real: Real | None


class CrossBandAttention(nn.Module):
    """Two bands attend to each other: a' = a + out_a(attention(q_a, k_b, v_b)), and b' from a alike.

    Both directions read a and b as they come in, and are one call of fused attention. Position t of one band sees
    positions up to t of the other, no padding among them.

    Args:
        d_model: width of the first band.
        n_heads: heads of each direction; divides the smaller width, which keys and values have.
        dropout: probability, on attention weights and on what is added.
        bidirectional: False: the second band reads the first, which stays as it is.
        d_model_b: width of the second band; that of the first by default.
        rotary: turn queries and keys by their position.
        use_flash: False computes attention with the unfused reference kernel.

    Raises:
        ValueError: when heads do not divide the smaller width, or rotary positions meet an odd width of a head.

    Source: "Wave Transformer Enhancements", section 4.
    """

    # What audits of a model hold it to, beside its mixers: the state grows with the sequence.
    traits: ClassVar[Traits] = Traits(cost="T^2", source="Wave Transformer Enhancements, section 4")

    def __init__(
        self,
        d_model: int,
        n_heads: int = 8,
        dropout: float = 0.1,
        bidirectional: bool = True,
        *,
        d_model_b: int | None = None,
        rotary: bool = False,
        use_flash: bool = True,
    ) -> None:
        super().__init__()
        widths = (d_model, d_model if d_model_b is None else d_model_b)
        inner = min(widths)
        if n_heads < 1 or inner % n_heads:
            raise ValueError(f"d_model={inner} is not a multiple of n_heads={n_heads}; change one of them")
        if rotary and inner // n_heads % 2:
            raise ValueError(f"rotary positions turn pairs of channels: head width {inner // n_heads} is odd")
        self.n_heads, self.d_head, self.rotary = n_heads, inner // n_heads, rotary
        self.dropout_p, self.use_flash = dropout, use_flash
        reads = (bidirectional, True)
        self.readers = nn.ModuleList(
            _Reader(width, inner, dropout) for width, reading in zip(widths, reads, strict=True) if reading
        )
        # What the first band offers is read by the second, and the other way round.
        self.offers = nn.ModuleList(nn.Linear(width, 2 * inner, bias=False) for width in widths[: len(self.readers)])

    def forward(
        self,
        band_a: Float[Tensor, "B T Da"],
        band_b: Float[Tensor, "B T Db"],
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: CrossState | None = None,
    ) -> tuple:
        """Return the pair of new bands; with a state, ((a', b'), new state). Arguments as of a mixer."""
        quiet_a, real = silenced(band_a, attention_mask)
        added, new = self.read([quiet_a, silenced(band_b, attention_mask)[0]], causal, real, state)
        bands = (band_a if added[0] is None else band_a + added[0], band_b + added[1])
        return bands if state is None else (bands, new)

    def read(
        self, bands: Listed[Float[Tensor, "B T _"]], causal: bool, real: Real | None, state: CrossState | None
    ) -> tuple[tuple[Tensor | None, Tensor], CrossState | None]:
        """Return what each of the two bands gets from the other (None: nothing), and the new state where one was given.

        Args:
            bands: the two, with zeros at padding.
            causal: whether later positions are hidden from earlier ones.
            real: which positions are real; None: all.
            state: from `init_state` or an earlier call.
        """
        readers = cast(Listed[_Reader], self.readers)
        ways = len(readers)
        # Readers are those of the last `ways` bands; the second band's source is the first.
        q = torch.cat([self._heads(r.query(x)) for r, x in zip(readers, bands[-ways:], strict=True)], dim=1)
        offered = [self._heads(offer(x)) for offer, x in zip(self.offers, bands[:ways], strict=True)][::-1]
        k, v = (torch.cat(parts, dim=1) for parts in zip(*(kv.chunk(2, dim=1) for kv in offered), strict=True))
        if self.rotary:
            first = 0 if state is None else state.keys.shape[2]
            table = rotary_table(first, q.shape[2], self.d_head, 10000.0, q.device, q.dtype)
            q, k = rotate(q, *table), rotate(k, *table)
        if state is not None:
            real = joined_mask(state.real, real, state.keys.shape[2], bands[0])
            k, v = torch.cat([state.keys, k], dim=2), torch.cat([state.values, v], dim=2)
            state = CrossState(k, v, real)
        dropout = self.dropout_p if self.training else 0.0
        out = sdpa(q, k, v, causal=causal, key_mask=real, dropout=dropout, fused=self.use_flash)
        parts = [
            reader.write(rearrange(part, "b n t e -> b t (n e)"))
            for reader, part in zip(readers, out.chunk(ways, dim=1), strict=True)
        ]
        return (parts[0] if ways == 2 else None, parts[-1]), state

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> CrossState:
        """Return the state before the first position: no keys, no values."""
        weight = cast(nn.Linear, self.offers[0]).weight
        heads = len(self.readers) * self.n_heads
        nothing = torch.zeros(
            batch_size, heads, 0, self.d_head, device=device or weight.device, dtype=dtype or weight.dtype
        )
        return CrossState(nothing, nothing, None)

    def _heads(self, x: Tensor) -> Float[Tensor, "B N T E"]:
        return rearrange(x, "b t (n e) -> b n t e", e=self.d_head)


class _Reader(nn.Module):
    """A band's queries, and what it adds of the answers."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(width, inner, bias=False)
        self.out_proj = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def write(self, answer: Tensor) -> Tensor:
        return self.dropout(self.out_proj(answer))
