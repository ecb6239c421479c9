"""What a pyramid does with a band: a stack of blocks, on a clock of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from undula.mixers.base import Mixer, State, build_mixer
from undula.models.blocks import ParallelBlock, mix
from undula.nn.norms import RMSNorm
from undula.ops.decimation import first_real, frames, hold, real_frames
from undula.shapes import PaddingMask, Sequence

Real = Bool[Tensor, "B T"]


@dataclass
class StackState(State):
    """The states of a stack's layers."""

    layers: tuple[State, ...]


class BandProcessor(nn.Module):
    """A stack of parallel blocks of one width, then a normalisation: norm(blocks(x)).

    Args:
        d_model: width.
        num_layers: blocks.
        n_heads_q: query heads; divides d_model.
        n_heads_kv: key-value heads; divides n_heads_q.
        d_ff_multi: hidden width of the feed-forwards, over d_model.
        dropout: probability.
        use_yarn: turn queries and keys by their position.
        use_flash: False computes attention with the unfused reference kernel.
        mixer: name of the blocks' mixer; key-value heads, dropout and the two switches are those of attention.
        mixer_options: its options, such as {"qk_norm": True}.

    Raises:
        ValueError: for no layer, an unknown mixer or option, or heads that do not divide.

    Source: "Wave Transformer Enhancements", section 4.
    """

    def __init__(
        self,
        d_model: int,
        num_layers: int,
        n_heads_q: int,
        n_heads_kv: int,
        d_ff_multi: int = 4,
        dropout: float = 0.1,
        use_yarn: bool = True,
        use_flash: bool = True,
        *,
        mixer: str = "attention",
        mixer_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers={num_layers}; a band needs at least one layer")
        options = dict(mixer_options or {})
        if mixer == "attention":
            usual = {"num_kv_heads": n_heads_kv, "dropout": dropout, "rotary": use_yarn, "use_flash": use_flash}
            options = {**usual, **options}
        self.layers = nn.ModuleList(
            ParallelBlock(
                d_model,
                n_heads_q,
                n_heads_kv,
                d_ff_multi * d_model,
                dropout,
                mixer=build_mixer(mixer, d_model, n_heads_q, **options),
            )
            for _ in range(num_layers)
        )
        self.norm = RMSNorm(d_model)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Return the normalised output of the last block; with a state, also the new state."""
        past = state.layers if isinstance(state, StackState) else (None,) * len(self.layers)
        new: list[State] = []
        for layer, before in zip(self.layers, past, strict=True):
            x, after = mix(layer, x, causal, attention_mask, before)
            new += [] if after is None else [after]
        x = self.norm(x)
        return x if state is None else (x, StackState(tuple(new)))

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StackState:
        """Return every layer's state before the first position."""
        mixers = (cast(Mixer, layer.attn) for layer in self.layers)
        return StackState(tuple(m.init_state(batch_size, device=device, dtype=dtype) for m in mixers))


@dataclass
class ClockState(State):
    """Where a slower clock stands between two pieces: the last inputs, the last frame's output, and what is counted."""

    recent: Float[Tensor, "B L C"]
    held: Float[Tensor, "B D"]
    start: Int[Tensor, " B"] | None
    position: int
    done: int


@dataclass
class BandState(State):
    """The state of a band's stack, and its clock; None at full rate."""

    stack: State
    clock: ClockState | None


class PyramidBand(nn.Module):
    """One band: norm, projection up to a width that heads divide, a stack of blocks.

    With a stride s the stack runs on every s-th position only, each standing for s positions that end there, and its
    output is held until the next: a pass costs 1 / s of the time, 1 / s^2 in its attention. See `ops.decimation`.

    Args:
        width: width of the band, 3 K.
        processor: the stack.
        d_model: width of the stack.
        stride: positions of a step of the stack.
    """

    def __init__(self, width: int, processor: BandProcessor, d_model: int, stride: int) -> None:
        super().__init__()
        self.stride, self.width, self.d_model = stride, width, d_model
        self.norm = RMSNorm(width)
        self.from_wave = nn.Linear(stride * width, d_model, bias=False)
        self.processor = processor

    def forward(
        self, x: Float[Tensor, "B T C"], causal: bool, real: Real | None, state: BandState | None
    ) -> tuple[Float[Tensor, "B T D"], BandState | None]:
        """Return the band's output at every position, and the new state where one was given.

        Args:
            x: the band, with zeros at padding.
            causal: whether later positions are hidden from earlier ones.
            real: which positions are real; None: all.
            state: from `init_state` or an earlier call.
        """
        x = self.norm(x)
        if self.stride > 1:
            return self._slowly(x, causal, real, state)
        y, stack = mix(self.processor, self.from_wave(x), causal, real, None if state is None else state.stack)
        return y, None if stack is None else BandState(stack, None)

    def _slowly(
        self, x: Tensor, causal: bool, real: Real | None, state: BandState | None
    ) -> tuple[Tensor, BandState | None]:
        rows, steps = x.shape[:2]
        clock = None if state is None else state.clock
        clock = self._clock(rows, x.device, x.dtype) if clock is None else clock
        start = first_real(clock.start, real, clock.position, rows)
        phase = None if start is None else start.remainder(self.stride)
        here, begun = (clock.position, steps), -(-(clock.position + steps) // self.stride)
        # Where rows begin at different phases, the last frame may be complete in some of them only: it is computed for
        # those now, and for all again with the next piece.
        sure = begun if phase is None else max(clock.done, (clock.position + steps) // self.stride)
        given = torch.cat([clock.recent, x], dim=1)
        stack, values = None if state is None else state.stack, [clock.held[:, None]]
        for first, end in [(0, begun)] if state is None else [(clock.done, sure), (sure, begun)]:
            if first == end:
                continue
            where = (self.stride, first, end - first)
            taken = frames(given, clock.position, *where, phase)
            kept = None if start is None else real_frames(start, real, *here, *where)
            y, after = mix(self.processor, self.from_wave(taken), causal, kept, stack)
            values.append(y)
            stack = after if end == sure else stack
        outputs = torch.cat(values, dim=1)
        y = hold(outputs, *here, self.stride, clock.done - 1, phase)
        if stack is None:
            return y, None
        recent, held = given[:, steps:], outputs[:, sure - clock.done]
        return y, BandState(stack, ClockState(recent, held, start, clock.position + steps, sure))

    def _clock(self, rows: int, device: torch.device, dtype: torch.dtype) -> ClockState:
        recent = torch.zeros(rows, 2 * (self.stride - 1), self.width, device=device, dtype=dtype)
        held = torch.zeros(rows, self.d_model, device=device, dtype=dtype)
        return ClockState(recent, held, None, 0, 0)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> BandState:
        """Return the state before the first position."""
        weight = self.from_wave.weight
        clock = self._clock(batch_size, device or weight.device, dtype or weight.dtype) if self.stride > 1 else None
        return BandState(self.processor.init_state(batch_size, device=device, dtype=dtype), clock)
