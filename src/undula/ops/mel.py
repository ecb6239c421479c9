"""Mel spectrograms: power in bands of frequency as the ear spaces them, in logarithms, at a steady level."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from undula.ops.fft import rfft
from undula.ops.phase import full_precision
from undula.ops.stft import mel_frequencies, triangle_filters

FRAME, HOP = 0.025, 0.010
"""Length of a frame and from one frame to the next, in seconds: 400 and 160 samples at 16 kHz."""

FLOOR = 1e-7
"""Power that counts as silence, of samples between -1 and 1: 70 dB below a noise of full scale."""

LEVEL = 0.01
"""Added to the variance of logarithms: what varies less is hardly blown up, and silence is 0."""


def frame_sizes(sample_rate: int) -> tuple[int, int]:
    """Return the samples of a frame, and from one frame to the next.

    Raises:
        ValueError: for a rate at which a hop is shorter than a sample.
    """
    if sample_rate < 1 / HOP:
        raise ValueError(f"sample_rate={sample_rate}; wanted samples per second, {1 / HOP:g} or more")
    return round(FRAME * sample_rate), round(HOP * sample_rate)


def mel_filters(num_mels: int, sample_rate: int, *, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "M F"]:
    """Return the weights of triangular filters over the bins of a frame; each filter's sum to 1.

    Centres are equally far apart in mel between 0 and half the sample rate; flanks reach to the neighbours, and over
    one bin at least, so that no filter falls between two bins.
    """
    n_fft = frame_sizes(sample_rate)[0]
    grid = mel_frequencies(num_mels + 2, 0.0, sample_rate / 2).to(device, dtype) * n_fft / sample_rate
    flanks = grid.diff().clamp_min(1)
    filters = triangle_filters(grid[1:-1], flanks[:-1], flanks[1:], n_fft // 2 + 1)
    return filters / filters.sum(1, keepdim=True)


def log_mel(
    samples: Float[Tensor, "B L"], sample_rate: int, num_mels: int = 80, causal: bool = False
) -> Float[Tensor, "B M T"]:
    """Return ln(power + 1e-7) of T = ceil(L / hop) frames in M bands, in float32 or wider.

    Power is the mean of a band's bins |sum_n w_n x_n e^(...)|^2 / sum w^2 under a Hann window: white noise has its
    variance in every band. Frame t is centred at sample t hop; causal, that sample is its last one, so it is a function
    of the sound so far. Outside of the recording is silence.

    Args:
        samples: between -1 and 1.
        sample_rate: samples per second.
        num_mels: bands M.
        causal: no look-ahead.

    Source: Stevens, Volkmann and Newman (1937), by O'Shaughnessy's formula; Davis and Mermelstein (1980).
    """
    wide = torch.promote_types(samples.dtype, torch.float32)
    n_fft, hop = frame_sizes(sample_rate)
    steps = -(-samples.shape[1] // hop)
    before = n_fft - 1 if causal else n_fft // 2
    after = (steps - 1) * hop + n_fft - before - samples.shape[1]
    frames = F.pad(samples.to(wide), (before, max(0, after))).unfold(1, n_fft, hop)[:, :steps]
    window = torch.hann_window(n_fft, device=samples.device, dtype=wide)
    power = torch.view_as_real(rfft(frames * window)).square().sum(-1) / window.square().sum()
    with full_precision(samples):
        bands = power @ mel_filters(num_mels, sample_rate, device=samples.device, dtype=wide).T
    return (bands + FLOOR).log().transpose(1, 2)


def levelled(
    mel: Float[Tensor, "B M T"], real: Bool[Tensor, "B T"] | None = None, causal: bool = False
) -> Float[Tensor, "B M T"]:
    """Return (x - mean) / sqrt(variance + 0.01) over all bands and real frames of a row; 0 at other frames.

    Args:
        mel: logarithms of powers.
        real: True at real frames; None: all.
        causal: mean and variance are those of the frames so far.
    """
    there = torch.ones_like(mel[:, 0], dtype=torch.bool) if real is None else real
    # Numbers near 0 lose nothing when squares of sums and sums of squares are compared.
    first = torch.where(there[:, :1, None], mel[..., :1].mean(1, keepdim=True), 0.0)
    x = torch.where(there[:, None], mel - first, 0.0)
    count = _sums(there.to(x.dtype), causal).clamp_min(1)[:, None]
    mean = _sums(x.mean(1), causal)[:, None] / count
    variance = (_sums(x.square().mean(1), causal)[:, None] / count - mean.square()).clamp_min(0)
    return torch.where(there[:, None], (x - mean) * (variance + LEVEL).rsqrt(), 0.0)


def _sums(x: Float[Tensor, "B T"], causal: bool) -> Float[Tensor, "B _"]:
    return x.cumsum(1) if causal else x.sum(1, keepdim=True)
