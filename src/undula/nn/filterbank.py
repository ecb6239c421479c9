"""A bank of triangular filters over the bins of a short-time Fourier transform, with learned centres and flanks."""

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor, nn

from undula.ops.phase import full_precision
from undula.ops.stft import mel_frequencies, triangle_filters


class TriangleFilterBank(nn.Module):
    """Maps spectra (B, T, F) to one complex number per filter, (B, T, H): the bins under each triangle, added up.

    Y_h = sum_f W_hf X_f with triangles W of height 1: the signal of one band at the middle of the frame, as a complex
    number, up to one constant. Centres keep within `freq_range` (a sigmoid), each flank is at least one bin wide
    (one plus a softplus), so a filter never falls between two bins and stops learning. It starts as mel filters:
    centres equally far apart in mel, each flank reaching to the neighbour. The filters are built in one broadcast,
    applied in one product over F; batch and time are never reshaped into each other.

    Args:
        num_filters: number of filters H.
        n_fft: length of the frames in samples; F = n_fft // 2 + 1.
        sample_rate: samples per second.
        freq_range: lowest and highest centre in Hz.
        learnable: whether centres and flanks are parameters, not constants.

    Raises:
        ValueError: when freq_range does not ascend within 0 .. sample_rate / 2.

    Source: the audio encoder of the Wave Transformer documents.
    """

    centre: Tensor
    left: Tensor
    right: Tensor

    def __init__(
        self,
        num_filters: int,
        n_fft: int,
        sample_rate: float,
        freq_range: tuple[float, float] = (20.0, 8000.0),
        learnable: bool = True,
    ) -> None:
        super().__init__()
        self.low, self.high = low, high = checked_range(freq_range, sample_rate)
        self.hz_per_bin = sample_rate / n_fft
        self.num_bins = n_fft // 2 + 1
        grid = mel_frequencies(num_filters + 2, low, high).float()
        share = (grid[1:-1] - low) / (high - low)
        flanks = (grid.diff() / self.hz_per_bin - 1).clamp_min(0.1)
        start = {
            "centre": torch.logit(share),
            "left": _before_softplus(flanks[:-1]),
            "right": _before_softplus(flanks[1:]),
        }
        for name, value in start.items():
            if learnable:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def centres(self) -> Float[Tensor, " H"]:
        """Return the frequency of each filter's peak in Hz."""
        return self.low + (self.high - self.low) * torch.sigmoid(self.centre)

    def filters(self) -> Float[Tensor, "H F"]:
        """Return the weights of each filter over the bins, 1 at its centre."""
        left, right = (1 + F.softplus(x) for x in (self.left, self.right))
        return triangle_filters(self.centres() / self.hz_per_bin, left, right, self.num_bins)

    def forward(self, spectrum: Complex[Tensor, "B T F"]) -> Complex[Tensor, "B T H"]:
        """Return the output of each filter, for phases that refer to the middle of the frame, as `ops.stft.stft`'s."""
        with full_precision(spectrum):
            weights = self.filters().to(spectrum.real.dtype)
            return torch.complex(F.linear(spectrum.real, weights), F.linear(spectrum.imag, weights))


def _before_softplus(y: Float[Tensor, " H"]) -> Float[Tensor, " H"]:
    return torch.log(torch.expm1(y))


def checked_range(freq_range: tuple[float, float], sample_rate: float) -> tuple[float, float]:
    """Return the lowest and the highest frequency, in Hz.

    Raises:
        ValueError: when they do not ascend within 0 .. sample_rate / 2.
    """
    low, high = freq_range
    if not 0 <= low < high <= sample_rate / 2:
        raise ValueError(
            f"freq_range={freq_range} does not ascend within 0 .. {sample_rate / 2:g} Hz, half of "
            f"sample_rate={sample_rate}; lower its end or raise the sample rate"
        )
    return float(low), float(high)
