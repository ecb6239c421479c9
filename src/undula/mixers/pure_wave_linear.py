"""Pure wave attention in linear time: the kernel acts on queries and keys apart, so that running sums are the state."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.mixers.base import MIXERS, Mixer, State, Traits, in_pieces, silenced
from undula.nn.wave_features import WaveHeads, real_positions
from undula.ops.kernel_attention import KERNELS, known_kernel
from undula.ops.scan import causal_linear_attention, linear_attention
from undula.shapes import PaddingMask, Sequence


@dataclass
class PureWaveLinearState(State):
    """Sums of phi(k) (v, 1)^T, and each row's number of real tokens; the size does not depend on the past's length."""

    sums: Float[Tensor, "B N W E"]
    seen: Int[Tensor, " B"]


@MIXERS.register("pure_wave_linear")
class PureWaveLinearAttention(Mixer):
    """y = out_proj(phi(q_t) S_t / phi(q_t) Z_t) with S_t = sum_s<=t phi(k_s) v_s^T and Z_t = sum_s<=t phi(k_s).

    phi(u) = kernel(scale_h u), each wave apart: phi(q) . phi(k) is another function than the kernel(q . k) of
    `PureWaveAttention`, whose parameters have the same names and shapes. Features are positive, so weights stay more
    even than a softmax's; scale_h is learned and starts at 10 / W^(1/4), without which outputs are a running mean. The
    exponential is taken below the largest value that a wave can have, which the division cancels: it cannot overflow.
    Cost T; streaming costs a constant per step and num_waves (d_model + num_heads) numbers of state. Features and sums
    are float32 or wider.

    Args:
        d_model: width.
        num_heads: heads; divides d_model.
        num_waves: waves in each head.
        kernel: "elu_plus_one", "sigmoid" or "exp".

    Raises:
        ValueError: when heads do not divide the width, for no waves, and for an unknown kernel.

    Source: Wave-Native GPT, pure wave attention, linear mode; Katharopoulos et al., arXiv 2006.16236.
    """

    traits = Traits(bounded_state=True, cost="T", source="Wave-Native GPT, pure wave attention (linear)")

    def __init__(self, d_model: int, num_heads: int, num_waves: int = 16, *, kernel: str = "elu_plus_one") -> None:
        super().__init__()
        self.d_model, self.kernel = d_model, known_kernel(kernel)
        self.heads = WaveHeads(d_model, num_heads, num_waves, 1 / 4)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Attend; see `Mixer.forward`."""
        x, real = silenced(x, attention_mask)
        given = isinstance(state, PureWaveLinearState)
        past = state if given else self.init_state(len(x), device=x.device, dtype=x.dtype)
        y, after = in_pieces(self._mixed, x, real, past) if causal else self._mixed(x, real, past, linear_attention)
        return (y, after) if given else y

    def _mixed(
        self,
        x: Tensor,
        real: Tensor | None,
        past: PureWaveLinearState,
        attend: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = causal_linear_attention,
    ) -> tuple[Tensor, PureWaveLinearState]:
        positions, seen = real_positions(real, past.seen, x)
        q, k, v = self.heads(x, positions)
        q, k = self._features(q), self._features(k)
        k = k if real is None else torch.where(real[:, None, :, None], k, 0.0)
        counted, sums = attend(q, k, F.pad(v.to(q.dtype), (0, 1), value=1.0), past.sums)
        total = counted[..., -1:]
        # Where nothing is seen, 0 / 1: dividing by something tiny would make gradients infinite.
        out = (counted[..., :-1] / total.masked_fill(total <= 0, 1.0)).to(v.dtype)
        return self.out_proj(rearrange(out, "b n t e -> b t (n e)")), PureWaveLinearState(sums, seen)

    def _features(self, waves: Float[Tensor, "B N T W"]) -> Float[Tensor, "B N T W"]:
        below = waves.shape[-1] ** 0.25 if self.kernel == "exp" else 0.0
        return KERNELS[self.kernel](self.heads.scale(waves.dtype) * (waves - below))

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> PureWaveLinearState:
        """Return the state before the first position: sums of nothing, float32 or wider."""
        weight = self.out_proj.weight
        device, wide = device or weight.device, torch.promote_types(dtype or weight.dtype, torch.float32)
        heads, waves = self.heads.query.phase_shift.shape
        sums = torch.zeros(batch_size, heads, waves, self.d_model // heads + 1, device=device, dtype=wide)
        return PureWaveLinearState(sums, torch.zeros(batch_size, dtype=torch.long, device=device))
