"""Attention over a causal wavelet tree: the last tokens one by one, those before in ever longer averages."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, in_pieces, is_long, looking_back
from undula.nn.norms import RMSNorm
from undula.nn.short_conv import CausalConv
from undula.nn.wavelet_basis import Wavelet, WaveletBasis
from undula.ops.conv import continued_conv
from undula.ops.rotary import rotate_at
from undula.ops.wavelet_attention import rows_at, tree_attention, tree_step
from undula.shapes import PaddingMask, Sequence


@dataclass
class WaveletAttentionState(State):
    """How many tokens there were, and the last values of each level: the size does not depend on how many."""

    seen: Int[Tensor, " B"]
    recent: Float[Tensor, "B L C"] | None
    smooth: Float[Tensor, "B J K C2"]
    window: Float[Tensor, "B levels W C2"]


class Rows(NamedTuple):
    """Rows whose real tokens stand first.

    Args:
        z: queries, keys and values of each token.
        count: how many tokens are real.
        back: where the token of each position of the mask stands; None: there was no mask.
    """

    z: Float[Tensor, "B T C"]
    count: Int[Tensor, " B"]
    back: Int[Tensor, "B T"] | None


@MIXERS.register("wavelet_attention")
class WaveletAttention(Mixer):
    """Softmax attention over the last `window` coefficients of every level of a causal wavelet tree, in one softmax.

    Level 0 holds the keys and values themselves, level j averages of 2^j of them by the low pass a_j, one for 2^j
    tokens, each less a learned share g of the next level's: g = 0 (the start) keeps the average, g = 1 the wavelet's
    detail. Reaches window 2^levels tokens back. Cost T (levels window); streaming costs levels x window a token and as
    much state, the logarithm of the reach.

    Args:
        d_model: width.
        num_heads: divides d_model, into heads of even width.
        window: coefficients that a query sees of each level.
        levels: of the tree.
        wavelets: whose low pass averages; of several, a mixture is learned for each level (`WaveletBasis`).
        short_conv: taps of a causal convolution on queries, keys and values; 0 for none.
        rotary_base: slowest wavelength of the rotary positions, over 2 pi, in tokens.
        dropout: probability of dropping an attention weight, in training.

    Raises:
        ValueError: for heads that do not divide the width, an odd head width, or no level or window.

    Source: SpectralLLM, wavelet attention, in a causal form; the tree: Holschneider et al. (1989).
    """

    traits = Traits(
        bidirectional=False,
        bounded_state=True,
        cost="T",
        source="SpectralLLM, wavelet attention; Holschneider et al., in Wavelets, Springer (1989) 286",
    )

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        window: int = 16,
        levels: int = 4,
        wavelets: Iterable[Wavelet] = ("db2",),
        short_conv: int = 0,
        rotary_base: float = 100.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if num_heads < 1 or d_model % (2 * num_heads):
            raise ValueError(
                f"d_model={d_model} is not a multiple of 2 x num_heads={num_heads}: rotary positions turn pairs of "
                "channels of a head; change one of them"
            )
        if window < 1:
            raise ValueError(f"window={window}; wanted at least 1 coefficient of each level")
        self.d_model, self.num_heads, self.window, self.levels = d_model, num_heads, window, levels
        self.rotary_base, self.dropout_p = rotary_base, dropout
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.short = CausalConv(3 * d_model, short_conv) if short_conv else None
        self.basis = WaveletBasis(wavelets, levels)
        self.detail = nn.Parameter(torch.zeros(levels, 2 * d_model))
        self.level_key = nn.Parameter(torch.zeros(levels + 1, d_model))
        self.q_norm, self.k_norm = RMSNorm(d_model // num_heads), RMSNorm(d_model // num_heads)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Attend; see `Mixer.forward`.

        Raises:
            ValueError: for causal=False; this tree looks back only.
        """
        x, real = looking_back("wavelet_attention", x, causal, attention_mask)
        if isinstance(state, WaveletAttentionState):
            return in_pieces(self._resume, x, real, state)
        start = self.init_state(len(x), device=x.device, dtype=x.dtype)
        if is_long(x):
            return in_pieces(self._resume, x, real, start)[0]
        return self._mixed(x, real, start, 0)[0]

    def _resume(
        self, x: Tensor, real: Tensor | None, past: WaveletAttentionState
    ) -> tuple[Tensor, WaveletAttentionState]:
        return self._mixed(x, real, past, self.window)

    def _mixed(
        self, x: Tensor, real: Tensor | None, past: WaveletAttentionState, kept: int
    ) -> tuple[Tensor, WaveletAttentionState]:
        """The output and the next state; `kept` is 0 where the past is empty and no state is wanted: much is saved."""
        rows = _real_first(self.qkv(x), real)
        z, recent = self._convolved(rows, past)
        q, values = z.split([self.d_model, 2 * self.d_model], dim=-1)
        before = [past.seen >> level for level in range(self.levels + 1)]
        smooth, coefficients = self._tree(values, past, before)
        levels = self._entries(coefficients, before)
        if kept:
            levels = [torch.cat([past.window[:, j], fresh], dim=1) for j, fresh in enumerate(levels)]
        q = self.q_norm(rearrange(q, "b t (n e) -> b t n e", n=self.num_heads))
        q = rotate_at(q, past.seen[:, None] + torch.arange(x.shape[1], device=x.device), self.rotary_base)
        dropout = self.dropout_p if self.training else 0.0
        y = tree_attention(q, levels, past.seen, self.window, kept, dropout=dropout)
        if rows.back is not None and real is not None:
            y = torch.where(real[..., None], rows_at(y, rows.back), 0.0)
        y = self.out_proj(y)
        if not kept:
            return y, past
        after = past.seen + rows.count
        grown = [(after >> j) - before[j] for j in range(self.levels + 1)]
        older = [torch.cat([past.smooth[:, j], own], dim=1) for j, own in enumerate(smooth)]
        kept_smooth = [_last(whole, grown[j], past.smooth.shape[2]) for j, whole in enumerate(older)]
        kept_window = [_last(whole, grown[j], self.window) for j, whole in enumerate(levels)]
        return y, WaveletAttentionState(after, recent, torch.stack(kept_smooth, 1), torch.stack(kept_window, 1))

    def _tree(
        self, values: Tensor, past: WaveletAttentionState, before: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The values of every level but the last, and the coefficients of every level."""
        lows, smooth, coefficients = self.basis(values.device), [], []
        for level in range(self.levels):
            coarse, following = tree_step(values, past.smooth[:, level], lows[level], before[level])
            smooth.append(values)
            coefficients.append(values - self.detail[level] * coarse)
            values = following
        return smooth, [*coefficients, values]

    def _convolved(self, rows: Rows, past: WaveletAttentionState) -> tuple[Tensor, Tensor | None]:
        if self.short is None or past.recent is None:
            return rows.z, None
        sides = (rows.z.transpose(1, 2), past.recent.transpose(1, 2))
        y = continued_conv(*sides, self.short.weight, self.short.bias).transpose(1, 2)
        return y, _last(torch.cat([past.recent, rows.z], dim=1), rows.count, past.recent.shape[1])

    def _entries(self, coefficients: list[Tensor], before: list[Tensor]) -> list[Tensor]:
        """Keys, normalised and turned by where they stand, and values, side by side, of every level."""
        sizes = [level.shape[1] for level in coefficients]
        device = coefficients[0].device
        # All levels at once: they are many small tensors.
        keys, values = torch.cat(coefficients, dim=1).chunk(2, dim=-1)
        which = torch.cat([torch.full((size,), j, device=device) for j, size in enumerate(sizes)])
        keys = self.k_norm(rearrange(keys, "b t (n e) -> b t n e", n=self.num_heads))
        keys = keys + rearrange(self.level_key[which], "t (n e) -> t n e", n=self.num_heads)
        ends = [
            (first[:, None] + torch.arange(1, size + 1, device=device)) * 2**j - 1
            for j, (first, size) in enumerate(zip(before, sizes, strict=True))
        ]
        keys = rotate_at(keys, torch.cat(ends, dim=1), self.rotary_base)
        return list(torch.cat([keys.flatten(2), values], dim=-1).split(sizes, dim=1))

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> WaveletAttentionState:
        """Return the state before the first position: zeros, which count as nothing."""
        weight = self.qkv.weight
        device, dtype = device or weight.device, dtype or weight.dtype

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(batch_size, *shape, device=device, dtype=dtype)

        return WaveletAttentionState(
            torch.zeros(batch_size, dtype=torch.long, device=device),
            None if self.short is None else zeros(self.short.taps - 1, 3 * self.d_model),
            zeros(self.levels, self.basis.taps - 1, 2 * self.d_model),
            zeros(self.levels + 1, self.window, 2 * self.d_model),
        )


def _real_first(z: Tensor, real: Tensor | None) -> Rows:
    if real is None:
        return Rows(z, torch.full((len(z),), z.shape[1], device=z.device), None)
    order = real.long().argsort(dim=1, descending=True, stable=True)
    return Rows(rows_at(z, order), real.sum(1), (real.cumsum(1) - 1).clamp_min(0))


def _last(whole: Tensor, grown: Tensor, number: int) -> Tensor:
    """The last `number` values of rows that begin with that many older ones and have grown by some."""
    return rows_at(whole, grown[:, None] + torch.arange(number, device=whole.device))
