"""The multi-resolution pyramid: a representation of waves in bands, each with a depth, width and clock of its own."""

from collections.abc import Mapping
from collections.abc import Sequence as Listed
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.mixers.base import State, silenced
from undula.models.bands import BandProcessor, BandState, PyramidBand
from undula.models.config import BAND_BOUNDARIES, BAND_NUM_LAYERS
from undula.models.cross_band import CrossBandAttention, CrossState
from undula.models.init import initialise
from undula.nn.bands import AdaptiveFusion, FrequencyBandDecomposer
from undula.shapes import PaddingMask


@dataclass
class PyramidState(State):
    """The states of the bands, and of each pair of neighbours."""

    bands: tuple[BandState, ...]
    pairs: tuple[CrossState, ...]


class MultiResolutionWavePyramid(nn.Module):
    """Waves in bands, low to high, worked on apart, in exchange with their neighbours, and put together: x + gate * y.

    y = fusion_b(to_wave_b(p_b + what p_b reads in p_(b-1) and p_(b+1))), p_b = blocks_b(from_wave_b(norm(band_b(x)))).
    All neighbours read the same p: no band reads one that was changed already. The gate, one number for each channel,
    starts at 0: a new pyramid is the identity and may be put anywhere, and the gate is what learns first.

    Bands are slices of the harmonics. Their blocks have heads as wide as those of a layer of the whole width, as many
    as hold the band: with the default bands of 64 harmonics 2, 4 and 4 of 8. Cost: 15 sum_b L_b D_b^2 products a
    position, and attention of L_b heads_b; a stride s divides the first by s and the second by s^2.

    Args:
        num_harmonics: harmonics H of the representation.
        band_boundaries: shares of the harmonics, increasing; n of them make n + 1 bands.
        band_num_layers: blocks of each band, lowest first.
        n_heads_q: query heads of a layer of the whole width, 3 H.
        n_heads_kv: key-value heads of the same.
        d_ff_multi: hidden width of the feed-forwards, over the width of the band's blocks.
        dropout: probability.
        use_cross_band_attn: neighbours attend to each other.
        use_yarn: turn queries and keys by their position.
        use_flash: False computes attention with the unfused reference kernel.
        band_strides: positions of a step of each band, lowest first; 1 everywhere by default. With s, the band's blocks
            see s positions at once, and what they make of them is held until the next s are complete.
        mixer: name of the mixer of the bands' blocks.
        mixer_options: its options.

    Raises:
        ValueError: for boundaries that do not increase or leave a band empty, layer counts or strides that do not match
            the bands or are below 1, or heads that do not divide.

    Source: "Wave Transformer Enhancements", section 4.
    """

    def __init__(
        self,
        num_harmonics: int,
        band_boundaries: Listed[float] = BAND_BOUNDARIES,
        band_num_layers: Listed[int] = BAND_NUM_LAYERS,
        n_heads_q: int = 8,
        n_heads_kv: int = 4,
        d_ff_multi: int = 4,
        dropout: float = 0.1,
        use_cross_band_attn: bool = True,
        use_yarn: bool = True,
        use_flash: bool = True,
        *,
        band_strides: Listed[int] | None = None,
        mixer: str = "attention",
        mixer_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.num_harmonics, self.d_model = num_harmonics, 3 * num_harmonics
        self.decomposer = FrequencyBandDecomposer(num_harmonics, band_boundaries)
        widths, bands = self.decomposer.widths, self.decomposer.num_bands
        strides = [1] * bands if band_strides is None else list(band_strides)
        for name, counts in (("band_num_layers", band_num_layers), ("band_strides", strides)):
            if len(counts) != bands or min(counts) < 1:
                raise ValueError(f"{name}={list(counts)}; wanted {bands} numbers from 1 on, one for each band")
        d_head = _head_width(self.d_model, n_heads_q, n_heads_kv, use_yarn)
        heads = [-(-width // d_head) for width in widths]
        sizes = [n * d_head for n in heads]
        shared = [_key_heads(n, n_heads_q // n_heads_kv) for n in heads]
        stacks = [
            BandProcessor(
                d, layers, n, kv, d_ff_multi, dropout, use_yarn, use_flash, mixer=mixer, mixer_options=mixer_options
            )
            for d, layers, n, kv in zip(sizes, band_num_layers, heads, shared, strict=True)
        ]
        self.bands = nn.ModuleList(
            PyramidBand(width, stack, d, stride)
            for width, stack, d, stride in zip(widths, stacks, sizes, strides, strict=True)
        )
        pairs = range(bands - 1) if use_cross_band_attn else []
        self.pairs = nn.ModuleList(
            CrossBandAttention(
                sizes[b],
                _wide_heads(min(heads[b : b + 2])),
                dropout,
                d_model_b=sizes[b + 1],
                rotary=use_yarn,
                use_flash=use_flash,
            )
            for b in pairs
        )
        self.to_wave = nn.ModuleList(nn.Linear(d, width) for d, width in zip(sizes, widths, strict=True))
        self.fusion = AdaptiveFusion(num_harmonics, bands, self.d_model, windows=self.decomposer.windows)
        self.gate = nn.Parameter(torch.zeros(self.d_model))
        initialise(self, max(band_num_layers))

    def forward(
        self,
        wave_repr: Float[Tensor, "B T three_H"],
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: PyramidState | None = None,
    ) -> Float[Tensor, "B T three_H"] | tuple[Float[Tensor, "B T three_H"], PyramidState]:
        """Return the new representation; with a state, also the new state. Arguments as of a mixer."""
        quiet, real = silenced(wave_repr, attention_mask)
        bands = cast(Listed[PyramidBand], self.bands)
        before = (None,) * len(bands) if state is None else state.bands
        results = [
            band(x, causal, real, past) for band, x, past in zip(bands, self.decomposer(quiet), before, strict=True)
        ]
        processed = [y for y, _ in results]
        exchanged, pairs = self._exchanged(processed, causal, real, None if state is None else state.pairs)
        y = self.fusion([to_wave(x) for to_wave, x in zip(self.to_wave, exchanged, strict=True)])
        y = wave_repr + self.gate * y
        return y if state is None else (y, PyramidState(tuple(new for _, new in results if new is not None), pairs))

    def _exchanged(
        self, processed: list[Tensor], causal: bool, real: Tensor | None, states: tuple[CrossState, ...] | None
    ) -> tuple[list[Tensor], tuple[CrossState, ...]]:
        """Each band with what it reads in its neighbours, all of which are as the stacks left them."""
        exchanged: list[Tensor] = list(processed)
        new: list[CrossState] = []
        joined = cast(Listed[CrossBandAttention], self.pairs)
        before = (None,) * len(joined) if states is None else states
        for low, (pair, past) in enumerate(zip(joined, before, strict=True)):
            added, after = pair.read(processed[low : low + 2], causal, real, past)
            for side, more in enumerate(added):
                exchanged[low + side] = exchanged[low + side] if more is None else exchanged[low + side] + more
            new += [] if after is None else [after]
        return exchanged, tuple(new)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> PyramidState:
        """Return the state before the first position."""
        bands, pairs = cast(Listed[PyramidBand], self.bands), cast(Listed[CrossBandAttention], self.pairs)
        return PyramidState(
            tuple(band.init_state(batch_size, device=device, dtype=dtype) for band in bands),
            tuple(pair.init_state(batch_size, device=device, dtype=dtype) for pair in pairs),
        )


def _head_width(d_model: int, n_heads_q: int, n_heads_kv: int, rotary: bool) -> int:
    if n_heads_q < 1 or d_model % n_heads_q:
        raise ValueError(f"3 x num_harmonics={d_model} is not a multiple of n_heads_q={n_heads_q}; change one of them")
    if n_heads_kv < 1 or n_heads_q % n_heads_kv:
        raise ValueError(f"n_heads_q={n_heads_q} is not a multiple of n_heads_kv={n_heads_kv}; change one of them")
    if rotary and d_model // n_heads_q % 2:
        raise ValueError(
            f"rotary positions turn pairs of channels: head width {d_model // n_heads_q} is odd; change n_heads_q"
        )
    return d_model // n_heads_q


def _wide_heads(heads: int) -> int:
    """Half as many, twice as wide, where that divides: attention takes its time by the head."""
    return heads if heads % 2 else heads // 2


def _key_heads(heads: int, group: int) -> int:
    """As few key-value heads as `heads` query heads can share in equal groups of at most `group`."""
    return next(n for n in range(-(-heads // group), heads + 1) if heads % n == 0)
