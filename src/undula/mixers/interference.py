"""Attention by interference: a weight is how much of their energy the waves of two positions keep when they meet."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, silenced
from undula.names import unknown_name
from undula.nn.interfering_waves import amplitudes, angles, evolved_phase
from undula.nn.wave_features import check_waves, real_positions
from undula.ops.attention import joined_mask
from undula.ops.interference import interference
from undula.shapes import PaddingMask, Sequence


@dataclass
class InterferenceState(State):
    """Waves and values so far, which of them are real (None: all), and each row's number of real tokens."""

    amplitudes: Float[Tensor, "B N S W"]
    phases: Float[Tensor, "B N S W"]
    frequencies: Float[Tensor, "B N S W"] | None
    values: Float[Tensor, "B N S E"]
    real: Bool[Tensor, "B S"] | None
    seen: Int[Tensor, " B"]


@MIXERS.register("interference")
class InterferenceAttention(Mixer):
    """y = out_proj(dropout(w) v), w_qk = (sum_waves I / sum_waves (A_q + A_k)^2)^contrast for keys up to the query.

    I = A_q^2 + A_k^2 + 2 A_q A_k cos(theta) is the intensity of two waves with A = softplus(amp_proj(x)).
    "literal": theta = (w_q - w_k)(t_q - t_k) + p_q - p_k, with w = freq_proj(x) and p = phase_proj(x); a cosine for
    each pair of positions and wave, and time enters through differences of frequencies alone. "evolved": theta is the
    difference of the phases w t + p, each at its own time (`undula.nn.interfering_waves.evolved_phase`); a product of
    matrices. Weights lie in [0, 1], near 1/2 where phases are random, and are not normalised: by "none" outputs grow
    with the number of keys; by "sum" the weights of a query add up to 1.

    Time grows with T^2, times num_waves for "literal"; memory with T num_waves. Waves and weights are float32 or wider.
    No biases where they would cancel.

    Args:
        d_model: width.
        num_heads: heads; divides d_model.
        num_waves: waves in each head.
        dropout: probability of dropping a weight, in training.
        formulation: "literal" or "evolved".
        normalisation: "none" or "sum".
        contrast: exponent of the weights, above 0; averages over many waves differ little without one above 1.

    Raises:
        ValueError: when heads do not divide the width, for no waves, unknown names, or a contrast that is not positive.

    Source: Wave-Native GPT, interference attention; "sum", contrast and "evolved" are additions.
    """

    traits = Traits(cost="T^2", source="Wave-Native GPT, interference attention")

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_waves: int = 16,
        dropout: float = 0.1,
        *,
        formulation: str = "literal",
        normalisation: str = "none",
        contrast: float = 1.0,
    ) -> None:
        super().__init__()
        check_waves(d_model, num_heads, num_waves)
        if formulation not in ("literal", "evolved"):
            raise unknown_name("formulation", formulation, ("literal", "evolved"))
        if normalisation not in ("none", "sum"):
            raise unknown_name("normalisation", normalisation, ("none", "sum"))
        if contrast <= 0:
            raise ValueError(f"contrast={contrast} is not positive; 1 leaves the weights as documented, more sharpens")
        self.d_model, self.num_heads, self.num_waves = d_model, num_heads, num_waves
        self.dropout_p, self.normalisation, self.contrast = dropout, normalisation, contrast
        self.freq_proj = nn.Linear(d_model, num_heads * num_waves, bias=False)
        self.phase_proj = nn.Linear(d_model, num_heads * num_waves, bias=False)
        self.amp_proj = nn.Linear(d_model, num_heads * num_waves)
        self.value_proj = nn.Linear(d_model, d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)
        evolved = formulation == "evolved"
        self.frequency_shift = nn.Parameter(torch.zeros(num_heads, num_waves)) if evolved else None

    @classmethod
    def build(
        cls,
        d_model: int,
        num_heads: int,
        *,
        num_waves: int = 16,
        dropout: float = 0.0,
        formulation: str = "literal",
        normalisation: str = "none",
        contrast: float = 1.0,
    ) -> "InterferenceAttention":
        """Build the mixer for a backbone."""
        return cls(
            d_model,
            num_heads,
            num_waves,
            dropout,
            formulation=formulation,
            normalisation=normalisation,
            contrast=contrast,
        )

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Attend; see `Mixer.forward`."""
        x, real = silenced(x, attention_mask)
        past = state if isinstance(state, InterferenceState) else None
        now = self._listen(x, real, past)
        if past is not None:
            now = _joined(past, now, x)
        out = self._attend(now, now.values, x.shape[1], causal, self.dropout_p if self.training else 0.0)
        if real is not None:
            out = torch.where(real[:, None, :, None], out, 0.0)
        y = self.out_proj(rearrange(out, "b n t e -> b t (n e)"))
        return y if past is None else (y, now)

    def get_interference_weights(self, x: Sequence) -> Float[Tensor, "B N T T"]:
        """Return the weights without dropout, 0 above the diagonal; as large as they are, for looking at."""
        now = self._listen(x, None, None)
        steps = x.shape[1]
        each = torch.eye(steps, dtype=now.amplitudes.dtype, device=x.device).expand(len(x), self.num_heads, -1, -1)
        return self._attend(now, each, steps, True, 0.0)

    def _listen(self, x: Tensor, real: Tensor | None, past: InterferenceState | None) -> InterferenceState:
        """Return the waves and values of a piece."""
        amplitude = amplitudes(self.amp_proj, x, self.num_heads)
        phase, frequency = (angles(layer, x, self.num_heads) for layer in (self.phase_proj, self.freq_proj))
        positions, seen = real_positions(real, None if past is None else past.seen, x)
        if self.frequency_shift is not None:
            phase, frequency = evolved_phase(phase, frequency, self.frequency_shift, positions), None
        values = rearrange(self.value_proj(x), "b t (n e) -> b n t e", n=self.num_heads)
        return InterferenceState(amplitude, phase, frequency, values, real, seen)

    def _attend(self, waves: InterferenceState, values: Tensor, queries: int, causal: bool, dropout: float) -> Tensor:
        out, total = interference(
            waves.amplitudes,
            waves.phases,
            values,
            waves.frequencies,
            queries=queries,
            causal=causal,
            key_mask=waves.real,
            contrast=self.contrast,
            dropout=dropout,
        )
        if self.normalisation == "none":
            return out
        # A real query meets itself with weight 1; one at padding may see nothing.
        return (out / total[..., None].clamp_min(torch.finfo(total.dtype).eps)).to(out.dtype)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> InterferenceState:
        """Return the state before the first position: no waves, no values. Waves are float32 or wider."""
        weight = self.out_proj.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        nothing = torch.zeros(batch_size, self.num_heads, 0, self.num_waves, device=device, dtype=wide)
        values = torch.zeros(batch_size, self.num_heads, 0, self.d_model // self.num_heads, device=device, dtype=dtype)
        seen = torch.zeros(batch_size, dtype=torch.long, device=device)
        frequencies = nothing if self.frequency_shift is None else None
        return InterferenceState(nothing, nothing, frequencies, values, None, seen)


def _joined(past: InterferenceState, now: InterferenceState, x: Tensor) -> InterferenceState:
    """Return the past with a new piece after it."""
    frequencies = None
    if past.frequencies is not None and now.frequencies is not None:
        frequencies = torch.cat([past.frequencies, now.frequencies], dim=2)
    return InterferenceState(
        torch.cat([past.amplitudes, now.amplitudes], dim=2),
        torch.cat([past.phases, now.phases], dim=2),
        frequencies,
        torch.cat([past.values, now.values], dim=2),
        joined_mask(past.real, now.real, past.values.shape[2], x),
        now.seen,
    )
