"""Attention by interference in linear time: rows of intensities over rows of energies, both running sums."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, in_pieces, silenced
from undula.nn.interfering_waves import amplitudes, angles, evolved_phase
from undula.nn.wave_features import check_waves, real_positions
from undula.ops.interference import energy_features, intensity_features
from undula.ops.scan import causal_linear_attention, linear_attention
from undula.shapes import PaddingMask, Sequence


@dataclass
class InterferenceLinearState(State):
    """Sums over keys of intensity features times values and of energy features, and numbers of real tokens."""

    intensities: Float[Tensor, "B N F E"]
    energies: Float[Tensor, "B N F2 1"]
    seen: Int[Tensor, " B"]


@MIXERS.register("interference_linear")
class InterferenceLinearAttention(Mixer):
    """y = out_proj(sum_k I_qk v_k / sum_k E_qk) with I and E summed over waves, of phases evolved to their own time.

    The waves of `InterferenceAttention` with formulation="evolved", whose weights I / E are divided pair by pair; here
    the row of intensities is divided by the row of energies, so that both are products of features, num_waves 2 + 2 and
    num_waves + 2 of them, and sums over the past are the whole state. Time grows with T; streaming costs a constant per
    step. Features and sums are float32 or wider.

    Args:
        d_model: width.
        num_heads: heads; divides d_model.
        num_waves: waves in each head.

    Raises:
        ValueError: when heads do not divide the width, or there are no waves.

    Source: Wave-Native GPT, interference attention; Katharopoulos et al., arXiv 2006.16236.
    """

    traits = Traits(bounded_state=True, cost="T", source="Wave-Native GPT, interference attention (evolved, linear)")

    def __init__(self, d_model: int, num_heads: int, num_waves: int = 16) -> None:
        super().__init__()
        check_waves(d_model, num_heads, num_waves)
        self.d_model, self.num_heads, self.num_waves = d_model, num_heads, num_waves
        self.freq_proj = nn.Linear(d_model, num_heads * num_waves, bias=False)
        self.phase_proj = nn.Linear(d_model, num_heads * num_waves, bias=False)
        self.amp_proj = nn.Linear(d_model, num_heads * num_waves)
        self.value_proj = nn.Linear(d_model, d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)
        self.frequency_shift = nn.Parameter(torch.zeros(num_heads, num_waves))

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Attend; see `Mixer.forward`."""
        x, real = silenced(x, attention_mask)
        given = isinstance(state, InterferenceLinearState)
        past = state if given else self.init_state(len(x), device=x.device, dtype=x.dtype)
        y, after = in_pieces(self._mixed, x, real, past) if causal else self._mixed(x, real, past, linear_attention)
        return (y, after) if given else y

    def _mixed(
        self,
        x: Tensor,
        real: Tensor | None,
        past: InterferenceLinearState,
        attend: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = causal_linear_attention,
    ) -> tuple[Tensor, InterferenceLinearState]:
        positions, seen = real_positions(real, past.seen, x)
        amplitude = amplitudes(self.amp_proj, x, self.num_heads)
        phase, frequency = (angles(layer, x, self.num_heads) for layer in (self.phase_proj, self.freq_proj))
        phase = evolved_phase(phase, frequency, self.frequency_shift, positions)
        v = rearrange(self.value_proj(x), "b t (n e) -> b n t e", n=self.num_heads)
        counts = torch.ones_like(amplitude[..., :1])
        if real is not None:
            v, counts = (torch.where(real[:, None, :, None], t, 0.0) for t in (v, counts))
        total, sums = attend(*intensity_features(amplitude, phase), v, past.intensities)
        energy, energies = attend(*energy_features(amplitude), counts, past.energies)
        out = (total / energy.clamp_min(torch.finfo(energy.dtype).tiny ** 0.5)).to(v.dtype)
        return self.out_proj(rearrange(out, "b n t e -> b t (n e)")), InterferenceLinearState(sums, energies, seen)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> InterferenceLinearState:
        """Return the state before the first position: sums of nothing, float32 or wider."""
        weight = self.out_proj.weight
        device, wide = device or weight.device, torch.promote_types(dtype or weight.dtype, torch.float32)
        rows = (batch_size, self.num_heads)
        return InterferenceLinearState(
            torch.zeros(*rows, 2 * self.num_waves + 2, self.d_model // self.num_heads, device=device, dtype=wide),
            torch.zeros(*rows, self.num_waves + 2, 1, device=device, dtype=wide),
            torch.zeros(batch_size, dtype=torch.long, device=device),
        )
