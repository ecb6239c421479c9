"""How far one sound is from another: over the samples, and over spectra of several resolutions."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from undula.ops.stft import stft

POWER_FLOOR = 1e-8
"""Power of a bin, and of a sample, below which sounds count as silent: 80 dB below full scale."""


def spectral_distance(
    estimate: Float[Tensor, "B L"], target: Float[Tensor, "B L"], n_fft: Sequence[int] = (128, 256, 512)
) -> Float[Tensor, ""]:
    """Return the mean over resolutions and rows of spectral convergence plus the distance of log magnitudes.

    ||Y| - |X||_F / |X|_F + mean |ln |Y| - ln |X||, with frames of each length a quarter apart: what the ear hears of
    noise, whose phases nobody can say. Sounds are as if 80 dB above silence at least. In float32 or wider.

    Args:
        estimate: reconstructions.
        target: the sounds.
        n_fft: lengths of frames in samples.

    Source: Yamamoto, Song, Kim, "Parallel WaveGAN", arXiv 1910.11480.
    """
    total = estimate.new_zeros((), dtype=torch.promote_types(estimate.dtype, torch.float32))
    for length in n_fft:
        y, x = (_magnitudes(sound, length) for sound in (estimate, target))
        gap = (y - x).square().sum((1, 2)).add(POWER_FLOOR).sqrt()
        total = total + (gap / x.square().sum((1, 2)).sqrt()).mean() + (y.log() - x.log()).abs().mean()
    return total / len(n_fft)


def waveform_distance(estimate: Float[Tensor, "B L"], target: Float[Tensor, "B L"]) -> Float[Tensor, ""]:
    """Return the mean over rows of log10(|estimate - target|^2 / |target|^2): minus the signal-to-noise ratio in bels.

    A ratio, so that quiet sounds count as much as loud ones; both squares have a floor of 80 dB below full scale.
    """
    wide = torch.promote_types(estimate.dtype, torch.float32)
    floor = POWER_FLOOR * estimate.shape[-1]
    error = (estimate.to(wide) - target.to(wide)).square().sum(-1) + floor
    return torch.log10(error / (target.to(wide).square().sum(-1) + floor)).mean()


def _magnitudes(sound: Tensor, length: int) -> Tensor:
    return torch.view_as_real(stft(sound, length, length // 4)).square().sum(-1).add(POWER_FLOOR * length).sqrt()
