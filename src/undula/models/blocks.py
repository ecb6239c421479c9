"""Block arrangements: how a mixer and a feed-forward join the residual stream."""

from dataclasses import dataclass

from torch import Tensor, nn

from undula.mixers.attention import FlashAttention
from undula.mixers.base import Mixer, State
from undula.mixers.cross import CrossMixer, Memory
from undula.mixers.phase_coherent import PhaseCoherentAttention
from undula.nn.feed_forward import SwiGLU
from undula.nn.mixture import feed_forward
from undula.nn.norms import RMSNorm
from undula.ops.half_waves import Grid
from undula.shapes import PaddingMask, Sequence


def mix(
    mixer: nn.Module, x: Sequence, causal: bool, attention_mask: PaddingMask | None, state: State | None
) -> tuple[Sequence, State | None]:
    """Return the output and the new state of a mixer, or of a block called like one; None where none was given."""
    if state is None:
        return mixer(x, causal, attention_mask), None
    return mixer(x, causal, attention_mask, state=state)


class ParallelBlock(nn.Module):
    """Mixer and feed-forward side by side: x + dropout(attn(n) + ffn(n)) with n = norm(x).

    Args:
        d_model: width.
        n_heads: query heads.
        n_heads_kv: key-value heads; divides n_heads.
        d_ff: hidden width of the feed-forward.
        dropout: probability, on attention weights and on the sum.
        use_flash: False computes attention with the unfused reference kernel.
        rotary: turn queries and keys by their position.
        mixer: takes the place of attention.
        ffn: takes the place of the feed-forward.

    Source: Wang and Komatsuzaki, GPT-J (2021); Chowdhery et al., "PaLM", arXiv 2204.02311.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_heads_kv: int,
        d_ff: int,
        dropout: float = 0.0,
        use_flash: bool = True,
        *,
        rotary: bool = False,
        mixer: Mixer | None = None,
        ffn: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm = RMSNorm(d_model)
        self.attn = mixer or FlashAttention(d_model, n_heads, dropout, use_flash, n_heads_kv=n_heads_kv, rotary=rotary)
        self.ffn = ffn or SwiGLU(d_model, d_ff)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Return the next residual stream; with a state, also the new state."""
        normed = self.norm(x)
        mixed, new = mix(self.attn, normed, causal, attention_mask, state)
        y = x + self.dropout(mixed + feed_forward(self.ffn, normed, attention_mask))
        return y if new is None else (y, new)


class DeepNormParallelBlock(nn.Module):
    """Parallel block whose branch is scaled for depth: x + dropout((attn(n) + ffn(n)) / sqrt(2 num_layers)).

    The scaling is the documented one. "DeepNorm" of Wang et al. (arXiv 2203.00555) scales the residual stream instead
    and normalises after the sum.

    Args:
        d_model, n_heads, n_heads_kv, d_ff, dropout, use_flash, rotary, mixer, ffn: as in `ParallelBlock`.
        num_layers: layers of the whole model.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_heads_kv: int,
        d_ff: int,
        dropout: float = 0.0,
        use_flash: bool = True,
        num_layers: int = 1,
        *,
        rotary: bool = False,
        mixer: Mixer | None = None,
        ffn: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm = RMSNorm(d_model)
        self.attn = mixer or FlashAttention(d_model, n_heads, dropout, use_flash, n_heads_kv=n_heads_kv, rotary=rotary)
        self.ffn = ffn or SwiGLU(d_model, d_ff)
        self.dropout = nn.Dropout(dropout)
        self.residual_scale = (2 * num_layers) ** -0.5

    def forward(
        self, x: Sequence, attention_mask: PaddingMask | None = None, causal: bool = True, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Return the next residual stream; with a state, also the new state. Mind the documented order of arguments."""
        normed = self.norm(x)
        mixed, new = mix(self.attn, normed, causal, attention_mask, state)
        y = x + self.dropout((mixed + feed_forward(self.ffn, normed, attention_mask)) * self.residual_scale)
        return y if new is None else (y, new)


class NonCausalParallelBlock(nn.Module):
    """Parallel block that always sees the whole sequence.

    Args:
        d_model, n_heads, n_heads_kv, d_ff, dropout, use_flash, rotary: as in `ParallelBlock`.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_heads_kv: int,
        d_ff: int,
        dropout: float = 0.1,
        use_flash: bool = True,
        *,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.norm = RMSNorm(d_model)
        self.attn = FlashAttention(d_model, n_heads, dropout, use_flash, n_heads_kv=n_heads_kv, rotary=rotary)
        self.ffn = SwiGLU(d_model, d_ff)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Sequence, attention_mask: PaddingMask | None) -> Sequence:
        """Return the next residual stream."""
        normed = self.norm(x)
        return x + self.dropout(self.attn(normed, False, attention_mask) + self.ffn(normed))


class PhaseCoherentParallelBlock(nn.Module):
    """Parallel block with phase-coherent attention: x + dropout(attn(n, phases of x) + ffn(n)) with n = norm(x).

    The normalisation scales each position by another number; what it leaves are no phases. So attention takes them from
    the residual stream itself, where they stay true through all layers, turned by what each layer adds.

    Args:
        d_model: width; 3 x num_harmonics.
        num_harmonics: harmonics of a wave.
        n_heads: query heads.
        n_heads_kv: key-value heads; divides n_heads.
        d_ff: hidden width of the feed-forward.
        dropout: probability, on attention weights, in the feed-forward and on the sum.
        mixer: takes the place of attention with its default options.
        ffn: takes the place of the feed-forward.

    Source: Wave Transformer, enhancements, section 3.
    """

    def __init__(
        self,
        d_model: int,
        num_harmonics: int,
        n_heads: int,
        n_heads_kv: int,
        d_ff: int,
        dropout: float = 0.0,
        *,
        mixer: PhaseCoherentAttention | None = None,
        ffn: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm = RMSNorm(d_model)
        self.attn = mixer or PhaseCoherentAttention(d_model, num_harmonics, n_heads, n_heads_kv, dropout)
        self.ffn = ffn or SwiGLU(d_model, d_ff, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Return the next residual stream; with a state, also the new state."""
        normed, phases = self.norm(x), x.chunk(3, dim=-1)[2]
        mixed = self.attn(normed, causal, attention_mask, state=state, phases=phases)
        mixed, new = mixed if isinstance(mixed, tuple) else (mixed, None)
        y = x + self.dropout(mixed + feed_forward(self.ffn, normed, attention_mask))
        return y if new is None else (y, new)


@dataclass
class CrossedState(State):
    """The state of a block's mixer, and what its cross mixer keeps of the source."""

    mixer: State
    source: State


class PreNormBlock(nn.Module):
    """Mixer, then feed-forward, each on a normalised copy of the residual stream; between them a reading of a source.

    Args:
        mixer: mixes along the sequence.
        d_ff: hidden width of the feed-forward.
        dropout: probability, on what each of them adds.
        ffn: takes the place of the feed-forward.
        cross: reads the source in a decoder; None where there is none.

    Source: Xiong et al., "On Layer Normalization in the Transformer Architecture", arXiv 2002.04745.
    """

    def __init__(
        self,
        mixer: Mixer,
        d_ff: int,
        dropout: float = 0.0,
        *,
        ffn: nn.Module | None = None,
        cross: CrossMixer | None = None,
    ) -> None:
        super().__init__()
        self.norm = RMSNorm(mixer.d_model)
        self.attn, self.on_grid = mixer, mixer.traits.grid
        self.cross_norm = None if cross is None else RMSNorm(mixer.d_model)
        self.cross = cross
        self.ffn_norm = RMSNorm(mixer.d_model)
        self.ffn = ffn or SwiGLU(mixer.d_model, d_ff)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Sequence,
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: State | None = None,
        memory: Memory | None = None,
        alignments: list[Tensor] | None = None,
        grid: Grid | None = None,
    ) -> Sequence | tuple[Sequence, State]:
        """Return the next residual stream; with a state, also the new state.

        Args:
            grid: rows and columns, for a mixer of grids, which takes no state.
            memory: the source, for a block with a cross mixer that is given no state.
            alignments: takes the weights (B, N, T, S) of this block's cross mixer.
        """
        if self.on_grid:
            x = x + self.dropout(self.attn(self.norm(x), causal, attention_mask, state=state, grid=grid))
            return x + self.dropout(feed_forward(self.ffn, self.ffn_norm(x), attention_mask))
        crossed = state if isinstance(state, CrossedState) else None
        mixed, new = mix(self.attn, self.norm(x), causal, attention_mask, state if crossed is None else crossed.mixer)
        x = x + self.dropout(mixed)
        if self.cross is not None and self.cross_norm is not None:
            source = _source(self.cross, crossed, memory)
            asking = self.cross_norm(x)
            x = x + self.dropout(self.cross(asking, source))
            if alignments is not None:
                alignments.append(self.cross.alignment(asking, source))
            new = None if new is None else CrossedState(new, source)
        x = x + self.dropout(feed_forward(self.ffn, self.ffn_norm(x), attention_mask))
        return x if new is None else (x, new)


def _source(cross: CrossMixer, state: CrossedState | None, memory: Memory | None) -> State:
    if state is not None:
        return state.source
    if memory is None:
        raise ValueError("got no source for a block that reads one; give memory, or a state that was made with it")
    return cross.absorb(memory)
