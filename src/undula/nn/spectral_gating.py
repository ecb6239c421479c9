"""Gates on a spectrum that depend on the frequency and on what is in it."""

from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from undula.nn.frequency_selector import KeptBins
from undula.ops.phase import full_precision
from undula.ops.spectral_bands import log_bands
from undula.ops.spectral_gate import band_levels, banded_filter, bins_of, magnitudes, phase_curves, unevenness

WAVES = 4
"""Learned sinusoids of each head's phase."""

RESIDUAL = 0.1
"""Share of the spectrum that passes by the gates, at the start."""


class Response(NamedTuple):
    """What a spectrum decides: the filter of each head, and how much of what was filtered passes in each channel."""

    filter: Complex[Tensor, "*batch N F"]
    passing: Float[Tensor, "*batch D"]


class AdvancedSpectralGating(nn.Module):
    """Filters a spectrum by what is in it: Y_h = r_h X_h + passing * (W_h H_h X_h), for each head and bin.

    H_h(f) = e^(i phi_h(f)) sum_b sigmoid(z_hb - tau_h) B_b(f) over overlapping bands B_b, two octaves apart on physical
    frequency: the same at each length. z comes from the mean magnitude of each band, by a projection and a network
    across heads (Linear, GELU, Dropout, Linear); tau is a learned threshold of each head. phi is the sum of four
    learned sinusoids, 0 at the lowest and the highest frequency, so the filter is real in time. `passing` is a sigmoid
    of the mean magnitudes, W_h a real matrix: all commutes with a delay of the signal. One complex product; no angle,
    and no magnitude but for the decision. Cost F D E for heads of width E. In training, pairs of (sample, band) are
    dropped, real and imaginary part together.

    Args:
        dim: channels D.
        num_heads: contiguous groups of channels with a filter each.
        num_freq_bands: bands of the gates.
        dropout: probability of dropping a band of a sample, and a hidden unit of the network across heads.
        phase_aware: whether filters have a phase.

    Raises:
        ValueError: when heads do not divide the width, or for no band.

    Source: Spectral Neural Networks, component 2, `AdvancedSpectralGating`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        num_freq_bands: int = 4,
        dropout: float = 0.1,
        *,
        phase_aware: bool = True,
    ) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"dim={dim} is not a multiple of num_heads={num_heads}; change one of them")
        if num_freq_bands < 1:
            raise ValueError(f"num_freq_bands={num_freq_bands}; wanted at least 1")
        self.dim, self.num_heads, self.num_freq_bands = dim, num_heads, num_freq_bands
        gates, width = num_heads * num_freq_bands, dim // num_heads
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(num_freq_bands * dim, gates)
        self.across = nn.Sequential(
            nn.Linear(gates, 2 * gates), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * gates, gates)
        )
        self.threshold = nn.Parameter(torch.zeros(num_heads))
        self.passing = nn.Linear(dim, dim)
        self.mixing = nn.Parameter(torch.randn(num_heads, width, width) * width**-0.5)
        self.residual = nn.Parameter(torch.full((num_heads,), RESIDUAL))
        self.dropout = nn.Dropout(dropout)
        self.amplitude, self.cycles = None, None
        if phase_aware:
            self.amplitude = nn.Parameter(0.1 * torch.randn(num_heads, WAVES))
            # Half a cycle over the spectrum, one and a half, ...: whole ones would all end at 0 with slope alone.
            self.cycles = nn.Parameter(torch.arange(WAVES).add(0.5).repeat(num_heads, 1))
        self.entropy_term: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        # The term hangs on the graph of a forward pass, which cannot be copied and is nobody else's.
        return {**self.__dict__, "entropy_term": None}

    def forward(
        self, spectrum: Complex[Tensor, "*batch F D"], real: Bool[Tensor, "*batch"] | None = None
    ) -> Complex[Tensor, "*batch F D"]:
        """Return the filtered spectrum.

        Args:
            spectrum: F = L / 2 + 1 bins of a real transform of L samples, for each sample, or each sample and frame.
            real: which spectra count in `aux_loss`; None: all.
        """
        response = self.response(magnitudes(spectrum))
        if torch.compiler.is_compiling():
            # Inductor (torch 2.13) gives products of transposed complex tensors wrong gradients, without a word.
            spectrum = spectrum.contiguous()
        heads = rearrange(spectrum, "... f (n e) -> ... n f e", n=self.num_heads)
        out = self._applied(heads, response.filter, response.passing)
        self._remember(out, None, real)
        return rearrange(out, "... n f e -> ... f (n e)")

    def on_kept(
        self,
        bins: KeptBins,
        response: Response,
        real: Bool[Tensor, "*batch"] | None = None,
    ) -> Complex[Tensor, "*batch N K E"]:
        """Return the kept bins, filtered: as `forward`, and work for what is kept alone."""
        here = torch.gather(response.filter, -1, bins.index)
        out = self._applied(bins.values, here, response.passing)
        self._remember(out, bins.kept, real)
        return out

    def response(self, size: Float[Tensor, "*batch F D"]) -> Response:
        """Return the filter of each head, and the share of each channel that passes.

        Args:
            size: of each bin, as `ops.spectral_gate.magnitudes` gives it.
        """
        dtype, bins = size.dtype, size.shape[-2]
        frequencies = bins_of(bins, device=size.device, dtype=dtype)
        bands = log_bands(frequencies, self.num_freq_bands)
        levels = self.norm(band_levels(size, bands).to(self.norm.weight.dtype))
        raw = self.gate(levels.flatten(-2))
        scores = rearrange(raw + self.across(raw), "... (n b) -> ... n b", n=self.num_heads)
        gains = torch.sigmoid((scores - self.threshold[:, None]).to(dtype))
        # One draw for each sample and band: all frames, heads and channels of it, real and imaginary part.
        kept = self.dropout(gains.new_ones(*gains.shape[: gains.ndim > 2], *[1] * (gains.ndim - 2), gains.shape[-1]))
        phases = gains.new_zeros(self.num_heads, bins)
        if self.amplitude is not None and self.cycles is not None:
            phases = phase_curves(self.amplitude.to(dtype), self.cycles.to(dtype), frequencies)
        passing = torch.sigmoid(self.passing(levels.mean(-2)).to(dtype))
        with full_precision(size):
            return Response(banded_filter(gains * kept, bands, phases), passing)

    def aux_loss(self) -> Float[Tensor, ""] | None:
        """Return how uneven the last output was, once: 0 for power spread evenly over frequency, 1 for a single line.

        1 - entropy / ln F, the mean over heads and spectra; the trainer adds it with a weight. None when gradients were
        off, or when it was taken already.
        """
        term, self.entropy_term = self.entropy_term, None
        return term

    def _applied(self, x: Tensor, response: Tensor, passing: Tensor) -> Tensor:
        """The filter, the matrix of each head and the residual, on (..., heads, bins, E)."""
        gate = rearrange(passing, "... (n e) -> ... n 1 e", n=self.num_heads)
        filtered = torch.view_as_real(x * response[..., None])
        with full_precision(x):
            mixed = torch.einsum("...nfec,ned->...nfdc", filtered, self.mixing.to(passing.dtype))
        residual = self.residual.to(passing.dtype)[:, None, None]
        return residual * x + gate * torch.view_as_complex(mixed.contiguous())

    def _remember(self, out: Tensor, kept: Tensor | None, real: Tensor | None) -> None:
        self.entropy_term = None
        if not torch.is_grad_enabled():
            return
        power = (out.real.square() + out.imag.square()).sum(-1)
        each = unevenness(power, kept).mean(-1)
        if real is None:
            self.entropy_term = each.mean()
        else:
            self.entropy_term = torch.where(real, each, 0).sum() / real.sum().clamp_min(1)
