"""Spectra of overlapping frames, of which the bins that matter are filtered by gates: for encoders, both ways."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits
from undula.nn.frequency_selector import AdaptiveFrequencySelector
from undula.nn.gate import GatedProduct
from undula.nn.hierarchical_fft import HierarchicalFFT
from undula.nn.spectral_gating import AdvancedSpectralGating
from undula.ops.bins import scatter_bins
from undula.ops.spectral_gate import magnitudes
from undula.shapes import PaddingMask, Sequence

UNLIMITED = 2**40
"""Longest sequence: frames have one size, so nothing sets a limit."""

UNEVEN = 0.01
"""Weight of the entropy term beside the nats of what is predicted."""


@MIXERS.register("spectral_frames")
class SpectralFrames(Mixer):
    """y = out_proj(norm(q) * frames(norm(k) * v)) with q, k, v projections of a short convolution of the input.

    `frames` takes spectra of overlapping frames under a tight window (`nn.hierarchical_fft`), which scale each other in
    bands; keeps some bins of each head (`nn.frequency_selector`), filters those by gates (`nn.spectral_gating`), and
    overlaps and adds. Looks both ways: a frame's positions see each other, frames all others through their powers. A
    frame has `chunk_size` samples whatever the length of the sequence, and a row's frames are counted from its first
    real position, so neither padding nor length changes anything. Cost T (log chunk_size + d_model^2).

    Args:
        d_model: width.
        num_heads: groups of channels that choose and filter for themselves; divides d_model.
        chunk_size: samples of a frame.
        overlap_ratio: share of a frame that the next one begins with, above 0 and up to 1/2.
        num_freq_bands: bands of the gates, and scales of the selector.
        sparsity: share of bins that each head keeps, at the start where it is adaptive; None: all, without a selector.
        adaptive: heads learn that share, between 0.12 and 0.45, by frame.
        phase_aware: filters have a phase.
        cross_frequency: the selector compares each bin with the mean of all.
        learned_fades: frames meet in learned slopes of complementary power, in place of a learned mix of windows.
        short_conv: taps of the short convolution.
        dropout: probability of dropping a band of a sample, in training.

    Raises:
        ValueError: when heads do not divide the width, or a number is out of range.

    Source: Spectral Neural Networks, components 1 to 3.
    """

    traits = Traits(
        causal=False, streaming=False, cost="T", source="Spectral Neural Networks, spectral gating of selected bins"
    )

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        chunk_size: int = 256,
        overlap_ratio: float = 0.5,
        num_freq_bands: int = 4,
        sparsity: float | None = 0.15,
        adaptive: bool = True,
        phase_aware: bool = True,
        cross_frequency: bool = True,
        learned_fades: bool = False,
        short_conv: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.gate = GatedProduct(d_model, short_conv)
        self.frames = HierarchicalFFT(
            d_model, UNLIMITED, chunk_size, overlap_ratio, num_freq_bands, learned_fades=learned_fades
        )
        self.gating = AdvancedSpectralGating(d_model, num_heads, num_freq_bands, dropout, phase_aware=phase_aware)
        self.selector = None
        if sparsity is not None:
            self.selector = AdaptiveFrequencySelector(
                d_model, sparsity, num_heads, num_freq_bands, adaptive=adaptive, cross_frequency=cross_frequency
            )
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence:
        """Filter; see `Mixer.forward`.

        Raises:
            ValueError: for causal=True, or with a state.
        """
        if causal or state is not None:
            raise ValueError(
                "spectral_frames looks both ways: call it with causal=False and without a state; where causal=True, "
                "hierarchical_fft is its relative"
            )
        real = None if attention_mask is None else attention_mask.bool()
        (q, _), u, _ = self.gate(x, real, None)
        u = u.transpose(1, 2)
        if real is None:
            return self.out_proj(q * self._filtered(u, None).to(q.dtype))
        shift = (real.cumsum(1) == 0).sum(1)
        y = self._filtered(_shifted(u, shift), self.frames.real_chunks(_shifted(real[..., None], shift)[..., 0]))
        return self.out_proj(q * _shifted(y, -shift).to(q.dtype))

    def _filtered(self, u: Sequence, real: Bool[Tensor, "B C"] | None) -> Sequence:
        """The sequence after its frames; real: frames with a real position."""
        spectrum = self.frames.modulated(self.frames.analysis(u), real)
        if self.selector is None:
            filtered = self.gating(spectrum, real)
        else:
            size = magnitudes(spectrum)
            bins = self.selector.select(spectrum, size)
            kept = self.gating.on_kept(bins, self.gating.response(size), real)
            filtered = scatter_bins(kept, bins.index, spectrum.shape[2])
        return self.frames.synthesis(filtered, u.shape[1])

    def aux_loss(self) -> Float[Tensor, ""] | None:
        """Return what the last forward pass adds to the loss: how uneven its kept bins are, with a weight, once."""
        uneven = self.gating.aux_loss()
        return None if uneven is None else UNEVEN * uneven

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Refuse: what looks both ways cannot be given in pieces.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "spectral_frames looks both ways and has no state to start from: take a causal mixer for decoding, such as "
            "hierarchical_fft"
        )


def _shifted(x: Sequence | Bool[Tensor, "B T D"], by: Int[Tensor, " B"]) -> Sequence | Bool[Tensor, "B T D"]:
    """Each row moved back by its own number of steps; what leaves at one end comes in at the other."""
    steps = x.shape[1]
    source = torch.remainder(torch.arange(steps, device=x.device) + by[:, None], steps)
    return torch.gather(x, 1, source[..., None].expand(-1, -1, x.shape[2]))
