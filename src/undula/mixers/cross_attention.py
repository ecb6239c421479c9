"""Softmax attention from one sequence to another, the baseline of cross mixers."""

from dataclasses import dataclass
from typing import cast

from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from undula.mixers.base import State
from undula.mixers.cross import CROSS_MIXERS, CrossMixer, Memory
from undula.nn.norms import RMSNorm
from undula.ops.attention import cross_sdpa, cross_weights
from undula.shapes import Sequence


@dataclass
class KeysAndValues(State):
    """Keys and values of a source, and which of them are real (None: all)."""

    keys: Float[Tensor, "B N S E"]
    values: Float[Tensor, "B N S E"]
    real: Bool[Tensor, "B S"] | None


@CROSS_MIXERS.register("attention")
class CrossAttention(CrossMixer):
    """Each position attends to every source position: softmax(q k^T / sqrt(E)) v, queries and keys normalised.

    Cost T S; its state grows with the source.

    Args:
        d_model: width.
        num_heads: heads; divides d_model.

    Raises:
        ValueError: when heads do not divide the width.

    Source: Vaswani et al., arXiv 1706.03762; Henry et al. (normalised), arXiv 2010.04245.
    """

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(f"d_model={d_model} is not a multiple of num_heads={num_heads}; change one of them")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.kv_proj = nn.Linear(d_model, 2 * d_model, bias=False)
        self.q_norm, self.k_norm = RMSNorm(d_model // num_heads), RMSNorm(d_model // num_heads)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def absorb(self, memory: Memory) -> KeysAndValues:
        """Return keys and values of every source position."""
        k, v = rearrange(self.kv_proj(memory.hidden), "b s (two n e) -> two b n s e", two=2, n=self.num_heads)
        return KeysAndValues(self.k_norm(k), v, memory.real)

    def forward(self, x: Sequence, source: State) -> Sequence:
        """Attend; see `CrossMixer.forward`."""
        source = cast(KeysAndValues, source)
        out = cross_sdpa(self._queries(x), source.keys, source.values, source.real)
        return self.out_proj(rearrange(out, "b n t e -> b t (n e)"))

    def alignment(self, x: Sequence, source: State) -> Float[Tensor, "B N T S"]:
        """Return the attention weights."""
        source = cast(KeysAndValues, source)
        return cross_weights(self._queries(x), source.keys, source.real)

    def _queries(self, x: Sequence) -> Float[Tensor, "B N T E"]:
        return self.q_norm(rearrange(self.q_proj(x), "b t (n e) -> b n t e", n=self.num_heads))
