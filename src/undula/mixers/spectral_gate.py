"""Gated convolution with damped harmonics in bands of timescales, each band with a gate that depends on the input."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, in_pieces, is_long, silenced
from undula.nn.damped_filter import DampedHarmonics
from undula.nn.gate import GatedProduct
from undula.shapes import PaddingMask, Sequence


@dataclass
class SpectralGateState(State):
    """The poles' states and the short convolution's last inputs; the size does not depend on the past's length."""

    poles: Float[Tensor, "B C M 2"]
    recent: Float[Tensor, "B D L"]


@MIXERS.register("spectral_gate")
class SpectralGate(Mixer):
    """y = out_proj(norm(q) * g * (h (*) (norm(k) * v))) with gates g = 2 sigmoid(W x - threshold) of bands.

    q, k, v and the convolution (*) with damped harmonics h are those of fft_conv. The channels of a head are dealt out
    among bands: the filters of band b start with decays in the b-th part of all decays, fast to slow, and the gain of a
    harmonic is complex, so that its phase is learned too. The gate of a band of a head, at its own moment, says how
    much of what those filters remember is heard; each head has a threshold. Cost T log(T), T for long sequences: the
    gates add 1 / (4 E) of the projections, for E channels in a band. Streaming costs a constant per step.

    Args:
        d_model: width.
        num_heads: heads; each has a gate for every band.
        num_bands: bands of timescales in each head.
        num_modes: damped harmonics in each filter.
        short_conv: taps of the short convolution.
        phase_aware: the phases of harmonics are learned; False: all are cosines.

    Raises:
        ValueError: where the heads have unequal widths, or fewer channels than bands.

    Source: the causal form of spectral gating: Poli et al., "Hyena Hierarchy", arXiv 2302.10866 (the gates); Gu et al.,
    arXiv 2206.11893 (the filters).
    """

    traits = Traits(bounded_state=True, cost="T", source="Poli et al., Hyena Hierarchy, arXiv 2302.10866; own bands")

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        num_bands: int = 4,
        num_modes: int = 8,
        short_conv: int = 4,
        phase_aware: bool = True,
    ) -> None:
        super().__init__()
        if d_model % num_heads:
            raise ValueError(f"d_model={d_model} is not a multiple of num_heads={num_heads}")
        self.d_model, self.num_heads, self.num_bands = d_model, num_heads, num_bands
        self.head_width = d_model // num_heads
        if not 1 <= num_bands <= self.head_width:
            raise ValueError(
                f"num_bands={num_bands} in heads of {self.head_width} channels; wanted 1 to {self.head_width}: "
                "fewer bands or fewer heads"
            )
        self.gate = GatedProduct(d_model, short_conv)
        band = torch.arange(d_model) % self.head_width % num_bands
        self.filter = DampedHarmonics(d_model, num_modes, band=band, num_bands=num_bands, phase_aware=phase_aware)
        self.band_gate = nn.Linear(d_model, num_heads * num_bands, bias=False)
        self.threshold = nn.Parameter(torch.zeros(num_heads))
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Convolve and gate; see `Mixer.forward`. causal=False adds the same filters run backwards."""
        x, real = silenced(x, attention_mask)
        if isinstance(state, SpectralGateState):
            return in_pieces(self._resume, x, real, state)
        if causal and is_long(x):
            y, _ = in_pieces(self._resume, x, real, self.init_state(len(x), device=x.device, dtype=x.dtype))
            return y
        (q, _), u, _ = self.gate(x, real, None)
        return self._out(x, q, self.filter(u, causal))

    def _resume(self, x: Tensor, real: Tensor | None, state: SpectralGateState) -> tuple[Tensor, SpectralGateState]:
        (q, _), u, recent = self.gate(x, real, state.recent)
        y, poles = self.filter.resume(u, state.poles)
        return self._out(x, q, y), SpectralGateState(poles, recent)

    def _out(self, x: Tensor, q: Tensor, y: Tensor) -> Tensor:
        """The gates of all channels, and the way out."""
        level = self.band_gate(x).unflatten(-1, (self.num_heads, self.num_bands)) - self.threshold[:, None]
        bands = 2 * torch.sigmoid(level)
        rounds = -(-self.head_width // self.num_bands)
        channels = bands.repeat(1, 1, 1, rounds)[..., : self.head_width].flatten(-2)
        return self.out_proj(q * channels * y.transpose(1, 2))

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> SpectralGateState:
        """Return the state before the first position: silence. The poles' states are float32 or wider."""
        weight = self.out_proj.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        poles = self.filter.silence(batch_size, device, dtype)
        return SpectralGateState(poles, self.gate.short.no_past(batch_size, device, dtype))
