"""Cosine attention: softmax over the angles between queries and keys, the hybrid of wave and standard models."""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, silenced
from undula.nn.wave_features import check_waves
from undula.ops.attention import joined_mask, sdpa
from undula.ops.rotary import rotary_table, rotate
from undula.shapes import PaddingMask, Sequence

SCALE = 10.0
"""Factor on the cosines that heads start with: weights between e^-10 and e^10 apart, so that a head can select."""

EPS = 1e-6
"""Added to squared lengths: at a length of exactly 0 the value is 0 and the gradient finite."""


@dataclass
class CosineState(State):
    """Keys and values so far, and which of them are real (None: all)."""

    keys: Float[Tensor, "B N S W"]
    values: Float[Tensor, "B N S E"]
    real: Bool[Tensor, "B S"] | None


@MIXERS.register("cosine")
class CosineAttention(Mixer):
    """y = out_proj(softmax(exp(log_scale_h) cos(q, k)) v), W wide queries and keys, d_model / num_heads wide values.

    Queries and keys are linear in the input, with a learned offset. A cosine lies within [-1, 1], so the factor decides
    how sharp a head can be; it is learned per head and starts at 10. (A temperature of sqrt(W), as in an earlier form,
    leaves all weights within 33 % of each other at W = 48.) Fused attention: time T^2, memory grows with T.

    Args:
        d_model: width.
        num_heads: heads; divides d_model.
        num_waves: width W of the queries and keys of a head; even with rotary positions.
        dropout: probability of dropping an attention weight, in training.
        rotary: turn queries and keys by their position.
        rotary_base: slowest wavelength of the rotary positions, over 2 pi, in steps.

    Raises:
        ValueError: when heads do not divide the width, for no waves, and for an odd number of them with rotary.

    Source: Wave-Native GPT, hybrid attention; Henry et al., "Query-Key Normalization for Transformers",
    arXiv 2010.04245.
    """

    traits = Traits(cost="T^2", source="Wave-Native GPT, hybrid attention; Henry et al., arXiv 2010.04245")

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_waves: int = 16,
        dropout: float = 0.0,
        *,
        rotary: bool = True,
        rotary_base: float = 10000.0,
    ) -> None:
        super().__init__()
        check_waves(d_model, num_heads, num_waves)
        if rotary and num_waves % 2:
            raise ValueError(
                f"rotary positions turn pairs of waves: num_waves={num_waves} is odd; add one or set rotary=False"
            )
        self.d_model, self.num_heads, self.num_waves, self.dropout_p = d_model, num_heads, num_waves, dropout
        self.rotary_base = rotary_base if rotary else None
        self.query = nn.Linear(d_model, num_heads * num_waves)
        self.key = nn.Linear(d_model, num_heads * num_waves)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.log_scale = nn.Parameter(torch.full((num_heads,), math.log(SCALE)))
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Attend; see `Mixer.forward`."""
        x, real = silenced(x, attention_mask)
        past = state if isinstance(state, CosineState) else None
        q, k, v = self._project(x, 0 if past is None else past.keys.shape[2])
        if past is not None:
            real = joined_mask(past.real, real, past.keys.shape[2], x)
            k, v = torch.cat([past.keys, k], dim=2), torch.cat([past.values, v], dim=2)
            past = CosineState(k, v, real)
        dropout = self.dropout_p if self.training else 0.0
        out = sdpa(q, k, v, causal=causal, key_mask=real, dropout=dropout, scale=1.0)
        y = self.out_proj(rearrange(out, "b n t e -> b t (n e)"))
        return y if past is None else (y, past)

    def _project(self, x: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by heads; keys of length 1, queries as long as the head's scale."""
        q, k, v = (
            rearrange(linear(x), "b t (n e) -> b n t e", n=self.num_heads)
            for linear in (self.query, self.key, self.value)
        )
        q, k = _unit(q), _unit(k)
        q = self.log_scale.to(q.dtype).exp()[:, None, None] * q
        if self.rotary_base is not None:
            table = rotary_table(first, x.shape[1], self.num_waves, self.rotary_base, x.device, q.dtype)
            q, k = rotate(q, *table), rotate(k, *table)
        return q.to(v.dtype), k.to(v.dtype), v

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> CosineState:
        """Return the state before the first position: no keys, no values."""
        weight = self.out_proj.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        widths = (self.num_waves, self.d_model // self.num_heads)
        keys, values = (torch.zeros(batch_size, self.num_heads, 0, w, device=device, dtype=dtype) for w in widths)
        return CosineState(keys, values, None)


def _unit(x: Float[Tensor, "B N T W"]) -> Float[Tensor, "B N T W"]:
    """Return x at length 1, in float32 or wider."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPS)
