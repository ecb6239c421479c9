"""What a decoder reads of its source: the contract of cross mixers, and the table of them."""

from abc import abstractmethod
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn

from undula.mixers.base import State
from undula.names import Registry
from undula.shapes import Sequence


@dataclass
class Memory(State):
    """A source that an encoder has read, and which of its positions are real (None: all)."""

    hidden: Float[Tensor, "B S D"]
    real: Bool[Tensor, "B S"] | None


class CrossMixer(nn.Module):
    """Maps positions (B, T, D) and a source to (B, T, D): each position reads the whole source, and no other position.

    What is kept of a source is computed once, read at every step, and never changed.

    The last projection is called `out_proj`, as that of every mixer.
    """

    @abstractmethod
    def absorb(self, memory: Memory) -> State:
        """Return what is kept of a source; padding leaves no trace in it."""

    @abstractmethod
    def forward(self, x: Sequence, source: State) -> Sequence:
        """Return what each position reads."""

    @abstractmethod
    def alignment(self, x: Sequence, source: State) -> Float[Tensor, "B N T S"]:
        """Return the weight of each source position in what a position reads, by heads: at least 0, 1 in sum."""


CROSS_MIXERS: Registry[type[CrossMixer]] = Registry("cross mixer")
