"""Wavelet bands with projections of their own, of which training computes some that are drawn."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, in_pieces, looking_back
from undula.nn.wavelet_basis import Wavelet, WaveletBasis
from undula.ops.band_sampling import band_sum, sampled_band_sum
from undula.ops.wavelet_tree import causal_tree
from undula.shapes import PaddingMask, Sequence


@dataclass
class StochasticWaveletState(State):
    """For each level the (L - 1) 2^level values before the next one, side by side."""

    history: Float[Tensor, "B D all"]


@MIXERS.register("stochastic_wavelet")
class StochasticWavelet(Mixer):
    """y = out_proj(silu(gate(x)) * sum_j W_j b_j) with the bands b_j of a causal undecimated wavelet tree of x.

    In training only sampling_ratio of the J = levels + 1 products are computed: those of bands drawn by the norms of
    W_j, scaled so that the mean of sum and gradient is right (`ops.band_sampling`, with a bound on the error). In
    evaluation all are, and nothing is random. Cost T J D^2, in training sampling_ratio of it.

    Args:
        d_model: width.
        levels: of the tree.
        wavelets: whose low pass is used; of several, a mixture is learned for each level (`WaveletBasis`).
        sampling_ratio: share of the bands that training computes, at least one; 1: all, without drawing.

    Raises:
        ValueError: for a share outside 0 to 1, no level, or an unknown wavelet.

    Attributes: sampling_noise, 1 where training draws bands, 0 where it computes all; draws, how many.

    Source: SpectralLLM, stochastic transform, with an estimator that is unbiased.
    """

    traits = Traits(bidirectional=False, bounded_state=True, cost="T", source="SpectralLLM, stochastic transform")

    def __init__(
        self, d_model: int, *, levels: int = 3, wavelets: Iterable[Wavelet] = ("db2",), sampling_ratio: float = 0.5
    ) -> None:
        super().__init__()
        if not 0 < sampling_ratio <= 1:
            raise ValueError(f"sampling_ratio={sampling_ratio}; wanted a share of the bands, above 0 and at most 1")
        self.d_model, self.levels = d_model, levels
        self.basis = WaveletBasis(wavelets, levels)
        bands = levels + 1
        self.draws = max(1, round(sampling_ratio * bands))
        self.sampling_noise = 0.0 if sampling_ratio == 1 else 1.0
        self.gate = nn.Linear(d_model, d_model, bias=False)
        self.band_weight = nn.Parameter(torch.randn(bands, d_model, d_model) * (bands * d_model) ** -0.5)
        self.out_proj = nn.Linear(d_model, d_model)

    @classmethod
    def build(
        cls,
        d_model: int,
        num_heads: int,
        *,
        levels: int = 3,
        wavelets: Iterable[Wavelet] = ("db2",),
        sampling_ratio: float = 0.5,
    ) -> "StochasticWavelet":
        """Build the mixer; it has no heads."""
        del num_heads
        return cls(d_model, levels=levels, wavelets=wavelets, sampling_ratio=sampling_ratio)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Mix; see `Mixer.forward`.

        Raises:
            ValueError: for causal=False; this tree looks back only.
        """
        x, real = looking_back("stochastic_wavelet", x, causal, attention_mask)
        if isinstance(state, StochasticWaveletState):
            return in_pieces(self._resume, x, real, state)
        start = self.init_state(len(x), device=x.device, dtype=x.dtype)
        return in_pieces(self._resume, x, real, start)[0]

    def _resume(
        self, x: Tensor, real: Tensor | None, past: StochasticWaveletState
    ) -> tuple[Tensor, StochasticWaveletState]:
        del real
        before = past.history.split(self._reaches(), dim=-1)
        smooth, details, history = causal_tree(x.transpose(1, 2), self.basis(x.device), self.levels, before)
        bands = torch.stack([*details, smooth]).transpose(2, 3)
        if self.training and self.sampling_noise:
            mixed = sampled_band_sum(bands, self.band_weight, self.draws)
        else:
            mixed = band_sum(bands, self.band_weight)
        y = self.out_proj(nn.functional.silu(self.gate(x)) * mixed)
        return y, StochasticWaveletState(torch.cat(history, dim=-1))

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StochasticWaveletState:
        """Return the state before the first position: silence."""
        weight = self.gate.weight
        size = (batch_size, self.d_model, sum(self._reaches()))
        return StochasticWaveletState(torch.zeros(size, device=device or weight.device, dtype=dtype or weight.dtype))

    def _reaches(self) -> list[int]:
        """How many values before the next one each level needs."""
        return [(self.basis.taps - 1) * 2**level for level in range(self.levels)]
