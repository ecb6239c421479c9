"""The short-time Fourier transform and its exact inverse, centred for encoders or causal for streams."""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional as F

from undula.ops.fft import irfft, rfft
from undula.ops.overlap import overlap_add, tight


def tight_hann(
    n_fft: int, hop_length: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Float[Tensor, " L"]:
    """Return the Hann window scaled so that the squares of its shifts by `hop_length` sum to 1 everywhere.

    w / sqrt(sum_k w[n + k hop]^2): used before and after a transform it gives back the signal, and white noise added in
    between keeps its power.

    Raises:
        ValueError: when the hop is not between 1 and n_fft - 1, since some samples would then be seen by no window.
    """
    if not 1 <= hop_length < n_fft:
        raise ValueError(f"hop_length={hop_length} is not in [1, n_fft - 1]; choose a hop below n_fft={n_fft}")
    window = torch.hann_window(n_fft, device=device, dtype=torch.float64)
    return tight(window, hop_length).to(dtype or torch.float32)


def stft(
    x: Float[Tensor, "*batch L"], n_fft: int, hop_length: int, causal: bool = False
) -> Complex[Tensor, "*batch T F"]:
    """Return the spectra of T = 1 + L // hop_length frames, F = n_fft // 2 + 1 bins each.

    Frame t is centred at sample t hop; causal, it ends just before that sample, so it is a function of the samples
    before t hop alone. The signal is 0 outside. Phases refer to the middle of the frame, so that neighbouring bins of
    one tone have the same phase and may be added. Computed in float32 or wider.

    Args:
        x: samples.
        n_fft: length of a frame in samples.
        hop_length: samples from one frame to the next.
        causal: no look-ahead, at the price of n_fft samples of delay when the signal is put together again.
    """
    before = _padding_before(n_fft, causal)
    return frame_spectra(F.pad(x, (before, n_fft - before)), n_fft, hop_length)


def frame_spectra(x: Float[Tensor, "*batch L"], n_fft: int, hop_length: int) -> Complex[Tensor, "*batch T F"]:
    """Return the spectra of the frames that lie within the signal, the first one at its start; see `stft`."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    window = tight_hann(n_fft, hop_length, device=x.device, dtype=x.dtype)
    return rfft((x.unfold(-1, n_fft, hop_length) * window).roll(-(n_fft // 2), -1))


def windowed_frames(
    spectrum: Complex[Tensor, "*batch T F"], n_fft: int, hop_length: int
) -> Float[Tensor, "*batch T n_fft"]:
    """Return the samples of each spectrum under its window: overlapped and added, they are the signal of `stft`."""
    window = tight_hann(n_fft, hop_length, device=spectrum.device, dtype=spectrum.real.dtype)
    return irfft(spectrum, n_fft).roll(n_fft // 2, -1) * window


def istft(
    spectrum: Complex[Tensor, "*batch T F"],
    n_fft: int,
    hop_length: int,
    causal: bool = False,
    length: int | None = None,
) -> Float[Tensor, "*batch L"]:
    """Return the signal of a sequence of spectra: the inverse of `stft`, exact at every sample it covers.

    Frames overlap and add under the window of `stft`. Centred, the ends, which fewer windows cover, are divided by what
    covers them, so the whole signal comes back. Causal, sample n is the sum of frames up to (n + n_fft) // hop and
    nothing depends on the length; the last n_fft samples fade out, since frames are still to come: append n_fft zeros
    to a signal that has ended.

    Args:
        spectrum: as `stft` gives it.
        n_fft: length of a frame in samples.
        hop_length: samples from one frame to the next.
        causal: as for `stft`.
        length: samples to return; None: (T - 1) hop. What lies beyond the last frame is 0.
    """
    window = tight_hann(n_fft, hop_length, device=spectrum.device, dtype=spectrum.real.dtype)
    before, steps = _padding_before(n_fft, causal), spectrum.shape[-2]
    length = (steps - 1) * hop_length if length is None else length
    signal = overlap_add(windowed_frames(spectrum, n_fft, hop_length), hop_length)
    if not causal:
        cover = overlap_add(window.square().expand(steps, n_fft), hop_length)
        signal = signal / torch.where(cover > 1e-4, cover, torch.ones_like(cover))
    signal = signal[..., before : before + length]
    return F.pad(signal, (0, length - signal.shape[-1]))


def log_spectrogram(
    x: Float[Tensor, "*batch L"], n_fft: int, hop_length: int, range_db: float = 80.0
) -> Float[Tensor, "*batch T F"]:
    """Return the power of the frames that lie within the signal, in decibels below its greatest value.

    Frame t is centred at sample n_fft // 2 + t hop. Values are cut at -range_db; silence is -range_db throughout.

    Args:
        x: at least n_fft samples.
        n_fft: length of a frame in samples.
        hop_length: samples from one frame to the next.
        range_db: from the greatest value to the least one shown.
    """
    window = tight_hann(n_fft, hop_length, device=x.device, dtype=x.dtype)
    power = torch.view_as_real(rfft(x.unfold(-1, n_fft, hop_length) * window)).square().sum(-1)
    top = power.amax((-2, -1), keepdim=True)
    share = power / top.masked_fill(top == 0, 1)
    return 10 * torch.log10(share.clamp_min(10 ** (-range_db / 10)))


def mel_frequencies(count: int, low: float, high: float) -> Float[Tensor, " count"]:
    """Return `count` frequencies from low to high in Hz, equally far apart on the mel scale 2595 log10(1 + f / 700)."""
    first, last = (math.log10(1 + f / 700) for f in (low, high))
    return 700 * (10 ** torch.linspace(first, last, count, dtype=torch.float64) - 1)


def triangle_filters(
    centres: Float[Tensor, " H"], left: Float[Tensor, " H"], right: Float[Tensor, " H"], num_bins: int
) -> Float[Tensor, "H F"]:
    """Return the weights of H triangles over the bins 0 .. num_bins - 1, all in one broadcast.

    Weight 1 at the centre, falling linearly to 0 at centre - left and at centre + right; all in bins.
    """
    distance = torch.arange(num_bins, device=centres.device, dtype=centres.dtype) - centres[:, None]
    width = torch.where(distance < 0, left[:, None], right[:, None])
    return (1 - distance.abs() / width).clamp_min(0)


def _padding_before(n_fft: int, causal: bool) -> int:
    return n_fft if causal else n_fft // 2
