"""Pure wave attention: weights are a kernel of the product of two sets of waves."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, silenced
from undula.nn.wave_features import WaveHeads, real_positions
from undula.ops.attention import joined_mask, sdpa
from undula.ops.kernel_attention import KERNELS, kernel_attention, known_kernel
from undula.shapes import PaddingMask, Sequence


@dataclass
class PureWaveState(State):
    """Keys (as waves) and values so far, which of them are real (None: all), and each row's number of real tokens."""

    keys: Float[Tensor, "B N S W"]
    values: Float[Tensor, "B N S E"]
    real: Bool[Tensor, "B S"] | None
    seen: Int[Tensor, " B"]


@MIXERS.register("pure_wave")
class PureWaveAttention(Mixer):
    """y = out_proj(sum_s w_ts v_s / sum_s w_ts) with w_ts = kernel(scale_h q_t . k_s), queries and keys being waves.

    q = sin(omega_q(x) t + phi_q(x)), of length W^(1/4), keys likewise with projections of their own; positions t count
    from a row's first real token. A score lies within scale_h sqrt(W); scale_h is learned and starts at 10 / sqrt(W).
    All kernels are positive: waves out of phase are muted, not subtracted. The sum of weights divides, where the
    document's earlier form divides by sqrt(t + 1): then a sequence's constant part comes out constant instead of
    growing with sqrt(t), and the exponential is a softmax, which cannot overflow. Cost T^2; memory grows with T.

    Args:
        d_model: width.
        num_heads: heads; divides d_model.
        num_waves: waves in each head.
        dropout: probability of dropping an attention weight, in training.
        kernel: "elu_plus_one", "sigmoid" or "exp".

    Raises:
        ValueError: when heads do not divide the width, for no waves, and for an unknown kernel.

    Source: Wave-Native GPT, pure wave attention, quadratic mode.
    """

    traits = Traits(cost="T^2", source="Wave-Native GPT, pure wave attention (quadratic)")

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_waves: int = 16,
        dropout: float = 0.0,
        *,
        kernel: str = "elu_plus_one",
    ) -> None:
        super().__init__()
        self.d_model, self.dropout_p, self.kernel = d_model, dropout, known_kernel(kernel)
        self.heads = WaveHeads(d_model, num_heads, num_waves, 1 / 2)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Attend; see `Mixer.forward`."""
        x, real = silenced(x, attention_mask)
        past = state if isinstance(state, PureWaveState) else None
        positions, seen = real_positions(real, None if past is None else past.seen, x)
        q, k, v = self.heads(x, positions)
        q, k = (self.heads.scale(q.dtype) * q).to(v.dtype), k.to(v.dtype)
        if past is not None:
            real = joined_mask(past.real, real, past.keys.shape[2], x)
            k, v = torch.cat([past.keys, k], dim=2), torch.cat([past.values, v], dim=2)
            past = PureWaveState(k, v, real, seen)
        y = self.out_proj(rearrange(self._attend(q, k, v, causal, real), "b n t e -> b t (n e)"))
        return y if past is None else (y, past)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, real: Tensor | None) -> Tensor:
        dropout = self.dropout_p if self.training else 0.0
        if self.kernel == "exp":
            return sdpa(q, k, v, causal=causal, key_mask=real, dropout=dropout, scale=1.0)
        return kernel_attention(q, k, v, KERNELS[self.kernel], causal=causal, key_mask=real, dropout=dropout)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> PureWaveState:
        """Return the state before the first position: no keys, no values."""
        weight = self.out_proj.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        heads, waves = self.heads.query.phase_shift.shape
        keys = torch.zeros(batch_size, heads, 0, waves, device=device, dtype=dtype)
        values = torch.zeros(batch_size, heads, 0, self.d_model // heads, device=device, dtype=dtype)
        return PureWaveState(keys, values, None, torch.zeros(batch_size, dtype=torch.long, device=device))
