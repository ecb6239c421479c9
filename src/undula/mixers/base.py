"""The mixer contract: what every sequence mixer promises, and the table of all of them."""

import dataclasses
import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from undula.names import Registry, unknown_name
from undula.ops.half_waves import Grid
from undula.shapes import PaddingMask, Sequence


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a mixer claims; the audits measure whether it is so."""

    causal: bool = True
    """With causal=True no output depends on a later input, nor on the length of the sequence."""
    bidirectional: bool = True
    """causal=False is supported and sees the whole sequence."""
    streaming: bool = True
    """The sequence may be given in pieces, carrying a state."""
    bounded_state: bool = False
    """The state does not grow with the number of steps."""
    grid: bool = False
    """Positions are the cells of a grid, row by row: `forward` has one more argument, `grid`, the rows and columns."""
    width_multiple: int = 1
    """The width has to be a multiple of this."""
    cost: str
    """Growth of the time of one forward pass in T, for example "T^2" or "T log T"."""
    source: str
    """The paper or document that the mixer comes from."""


@dataclass
class State:
    """What a mixer remembers between pieces of a sequence: tensors whose first axis is the batch.

    What is made of several mixers holds their states, in tuples.
    """


S = TypeVar("S", bound=State)


def map_state(state: S, change: Callable[[Tensor], Tensor]) -> S:
    """Return a copy of a state with `change` applied to each of its tensors."""
    return dataclasses.replace(state, **{name: _mapped(value, change) for name, value in _fields(state)})


def reorder_state(state: S, index: Tensor) -> S:
    """Return the state with its batch rows taken in the order of `index` (beam search)."""
    return map_state(state, lambda t: t.index_select(0, index.to(t.device)))


def state_bytes(state: State) -> int:
    """Return the memory that a state's tensors take, in bytes."""
    return _bytes(state)


def _fields(state: State) -> list[tuple[str, Any]]:
    return [(f.name, getattr(state, f.name)) for f in dataclasses.fields(state)]


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, State):
        return map_state(value, change)
    return tuple(_mapped(part, change) for part in value) if isinstance(value, tuple) else value


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    parts = [part for _, part in _fields(value)] if isinstance(value, State) else value
    return sum(map(_bytes, parts)) if isinstance(parts, list | tuple) else 0


def silenced(x: Sequence, attention_mask: PaddingMask | None) -> tuple[Sequence, Bool[Tensor, "B T"] | None]:
    """Return a sequence with zeros at padding, and which positions are real (None: all).

    Whatever stands at padding, NaN too, must not reach a weight of zero: it is replaced, not multiplied.

    Raises:
        ValueError: for a sequence without steps.
    """
    if x.shape[1] < 1:
        raise ValueError("got a sequence of 0 steps; wanted at least 1")
    if attention_mask is None:
        return x, None
    real = attention_mask.bool()
    return torch.where(real[..., None], x, 0.0), real


def looking_back(
    name: str, x: Sequence, causal: bool, attention_mask: PaddingMask | None
) -> tuple[Sequence, Bool[Tensor, "B T"] | None]:
    """Return what `silenced` does, for a mixer that looks back only.

    Raises:
        ValueError: for causal=False, and for a sequence without steps.
    """
    if not causal:
        raise ValueError(f"{name} looks back only; use attention or fft_conv where causal=False")
    return silenced(x, attention_mask)


PIECE = 16384
"""Longest piece, in steps, that is worked on at once. It bounds the memory beside what gradients need, and keeps the
tensors in between small enough (16 MB at a width of 256) that an allocator hands the same ones out again: tensors of a
whole sequence of 200,000 steps come as fresh pages each time, and a pass took up to three times as long."""


def is_long(x: Sequence) -> bool:
    """Return whether a whole sequence is better taken in pieces."""
    return x.shape[1] > PIECE


def in_pieces(
    resume: Callable[[Sequence, Bool[Tensor, "B T"] | None, S], tuple[Sequence, S]],
    x: Sequence,
    real: Bool[Tensor, "B T"] | None,
    state: S,
) -> tuple[Sequence, S]:
    """Return what resume(x, real, state) gives for a whole sequence, called on one piece after the other.

    Args:
        resume: returns a piece of the output and the next state.
        x: the sequence.
        real: True at real positions; None: all.
        state: before the first position.
    """
    done = []
    # Split, not sliced: the gradient of a slice is as large as the whole sequence.
    pieces = x.split(PIECE, dim=1)
    masks = [None] * len(pieces) if real is None else real.split(PIECE, dim=1)
    for piece, mask in zip(pieces, masks, strict=True):
        y, state = resume(piece, mask, state)
        done.append(y)
    return (done[0] if len(done) == 1 else torch.cat(done, dim=1)), state


class Mixer(nn.Module):
    """Maps (B, T, D) to (B, T, D), mixing along T.

    The last projection is called `out_proj`: what writes into the residual stream starts smaller in deep models.
    Constructors make start values with torch.arange, not torch.linspace: transformers loads models on the meta device
    but keeps linspace on the CPU, and devices must not mix.
    """

    traits: ClassVar[Traits]
    residual_axes: ClassVar[Mapping[str, int]] = {}
    """The parameters that touch the residual stream, and which axis does. A mixer that names them, and takes its width
    inside as the option `d_inner`, can be narrowed to some of the stream's channels (`models.narrow`)."""
    d_model: int

    @classmethod
    def build(cls, d_model: int, num_heads: int, **options: Any) -> Self:
        """Build the mixer for a backbone; a mixer with argument names of its own translates here."""
        return cls(d_model, num_heads=num_heads, **options)

    @abstractmethod
    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Mix a sequence.

        Args:
            x: the sequence.
            causal: whether later positions are hidden from earlier ones.
            attention_mask: (B, T), 1 = real token; padding on either side. With a state, padding on the left.
            state: from `init_state` or an earlier call; x then continues that sequence.

        Returns:
            The mixed sequence; with a state, the pair of it and the new state.
        """

    @abstractmethod
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Return the state before the first position."""


MIXERS: Registry[type[Mixer]] = Registry("mixer")

GRID_MIXERS: Registry[type[Mixer]] = Registry("grid mixer")
"""Mixers of images. They stand apart since they break the contract of sequences on purpose: what they compute belongs
to the whole picture, so it depends on its size, and a grid has no padding and no order."""


def checked_grid(
    name: str, x: Sequence, causal: bool, attention_mask: PaddingMask | None, state: State | None, grid: Grid | None
) -> Grid:
    """Return the grid that a mixer of grids was called with.

    Raises:
        ValueError: for causal=True, a mask, a state, or a grid that has not as many cells as there are positions.
    """
    if causal or attention_mask is not None or state is not None:
        raise ValueError(f"{name} mixes whole grids: call it with causal=False, without a mask and without a state")
    if grid is None or grid[0] * grid[1] != x.shape[1]:
        raise ValueError(f"grid={grid} for {x.shape[1]} cells; wanted (rows, columns) whose product that is")
    return grid


def find_mixer(name: str) -> type[Mixer]:
    """Return a registered mixer, of sequences or of grids.

    Raises:
        ValueError: for an unknown one; names the nearest.
    """
    return GRID_MIXERS[name] if name in GRID_MIXERS else MIXERS[name]


def mixer_options(mixer: type[Mixer]) -> dict[str, Any]:
    """Return the options that a backbone may pass to a mixer, with their defaults."""
    own = "build" in vars(mixer)
    parameters = inspect.signature(mixer.build if own else mixer).parameters.values()
    plain = [p for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return {p.name: p.default for p in plain if p.name not in ("self", "cls", "d_model", "num_heads")}


def build_mixer(name: str, d_model: int, num_heads: int, **options: Any) -> Mixer:
    """Build a registered mixer, of sequences or of grids.

    Raises:
        ValueError: for an unknown mixer or option; names the nearest.
    """
    mixer = find_mixer(name)
    known = mixer_options(mixer)
    for option in options:
        if option not in known:
            raise unknown_name(f"option of mixer {name!r}", option, known)
    return mixer.build(d_model, num_heads, **options)
