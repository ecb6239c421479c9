"""Between sound and waves: the encoder and the decoder of the Wave Transformer for audio."""

import math

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.mixers.attention import FlashAttention
from undula.models.blocks import PreNormBlock
from undula.nn.filterbank import TriangleFilterBank
from undula.nn.norms import RMSNorm
from undula.ops.phase import full_precision, phase_of
from undula.ops.stft import istft, stft, tight_hann
from undula.shapes import PaddingMask, Sequence
from undula.wave import Wave

SILENCE = 1e-5
"""Amplitude below which a filter's phase fades out: 100 dB below full scale."""

QUIET = 5.0
"""Shift of the decoder's amplitudes before the softplus: an untrained decoder is quiet, near exp(-5)."""


class AudioWaveEncoder(nn.Module):
    """Sound (B, L) to waves: every frame gets H harmonics, in Hz, amplitudes of the samples' unit, and radians.

    A short-time Fourier transform, a bank of H triangular filters with learned centres and flanks, and layers that see
    all frames (causal: all earlier ones). A harmonic's frequency is its filter's centre, moved within `freq_range` by
    what the layers say; its amplitude is what the filter measures, times an exponential; its phase is the filter's at
    the middle of the frame, turned by what the layers say: a direction, so it has no seam at pi.

    There are T = 1 + L // hop_length frames. Frame t is centred at sample t hop_length; causal, it is a function of the
    samples before that one.

    Args:
        num_harmonics: harmonics H of each wave.
        sample_rate: samples per second.
        n_fft: length of a frame in samples.
        hop_length: samples from one frame to the next.
        d_model: width of the layers.
        num_heads: attention heads of the layers.
        num_layers: number of layers.
        dropout: probability.
        freq_range: lowest and highest frequency in Hz.
        learnable_filterbank: whether the filters learn, or stay mel filters.

    Raises:
        ValueError: when the frequencies do not ascend within half the sample rate, or heads do not divide the width.

    Source: Wave Transformer core documentation.
    """

    def __init__(
        self,
        num_harmonics: int = 64,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop_length: int = 256,
        d_model: int = 512,
        num_heads: int = 8,
        num_layers: int = 3,
        dropout: float = 0.1,
        freq_range: tuple[float, float] = (20.0, 8000.0),
        learnable_filterbank: bool = True,
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        # A band's sum over bins is the band's signal at the middle of the frame, times this.
        self.full_scale = float(tight_hann(n_fft, hop_length)[n_fft // 2]) * n_fft / 2
        self.filterbank = TriangleFilterBank(num_harmonics, n_fft, sample_rate, freq_range, learnable_filterbank)
        self.frames = FrameLayers(3 * num_harmonics, d_model, num_heads, num_layers, dropout)
        self.to_components = nn.Linear(d_model, 4 * num_harmonics)

    def forward(
        self,
        audio: Float[Tensor, "*shape"],
        attention_mask: PaddingMask | None = None,
        causal: bool = False,
    ) -> Wave:
        """Return the waves of all frames, (B, T, H).

        Args:
            audio: (B, L), samples between -1 and 1.
            attention_mask: (B, T), 1 = real frame, on the frames, not on the samples; samples between two frames count
                only if both are real, so give paddings in whole hops.
            causal: whether frames see later samples.

        Raises:
            ValueError: when `audio` has not two axes, or the mask not one entry for each frame.
        """
        if audio.ndim != 2:
            raise ValueError(f"audio has shape {tuple(audio.shape)}, wanted (batch, samples); mix channels down first")
        steps = 1 + audio.shape[1] // self.hop_length
        if attention_mask is not None:
            real = _frame_mask(attention_mask, steps)
            audio = torch.where(self._real_samples(real, audio.shape[1]), audio, 0.0)
        heard = self.filterbank(stft(audio, self.n_fft, self.hop_length, causal)) / self.full_scale
        size = torch.view_as_real(heard).square().sum(-1).add(SILENCE**2).sqrt()
        direction = torch.view_as_real(heard) / size[..., None]
        loudness = 1 + torch.log(size) / -math.log(SILENCE)
        features = torch.cat([loudness, direction[..., 0], direction[..., 1]], -1).to(audio.dtype)
        parts = self.to_components(self.frames(features, causal, attention_mask)).to(size.dtype)
        move, grow, real_turn, imag_turn = parts.chunk(4, -1)
        bank = self.filterbank
        frequencies = bank.low + (bank.high - bank.low) * torch.sigmoid(bank.centre.to(move.dtype) + move)
        # A sine at phase phi has the spectrum of a cosine a quarter turn behind: (sin, cos) = (real, -imaginary).
        phases = phase_of(direction[..., 0] + real_turn, imag_turn - direction[..., 1])
        return Wave(frequencies, size * torch.exp(grow.clamp(-10, 10)), phases).to(audio.dtype)

    def _real_samples(self, real: Bool[Tensor, "B T"], length: int) -> Bool[Tensor, "B L"]:
        both = real & torch.cat([real[:, 1:], real[:, -1:]], 1)
        return both.repeat_interleave(self.hop_length, 1)[:, :length]


class AudioWaveDecoder(nn.Module):
    """Waves, or what a model made of their representation (B, T, 3 H), to sound (B, samples).

    Layers that see all frames; then each frame's spectrum, with one inverse short-time transform: magnitudes are a
    learned spread of H positive amplitudes over the bins, softplus(spread) applied to softplus(. - 5), starting as mel
    filters and quiet; phases are directions (cos, sin), which have no seam. All of it is differentiable, in one pass.

    Args:
        num_harmonics: harmonics H of each wave.
        sample_rate: samples per second.
        n_fft: length of a frame in samples.
        hop_length: samples from one frame to the next.
        d_model: width of the layers.
        num_heads: attention heads of the layers.
        num_layers: number of layers.
        dropout: probability.
        freq_range: lowest and highest frequency of the starting filters in Hz.

    Raises:
        ValueError: when the frequencies do not ascend within half the sample rate, or heads do not divide the width.

    Source: Wave Transformer core documentation; Siuzdak, "Vocos", arXiv 2306.00814 (one inverse transform).
    """

    def __init__(
        self,
        num_harmonics: int = 64,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop_length: int = 256,
        d_model: int = 512,
        num_heads: int = 8,
        num_layers: int = 3,
        dropout: float = 0.1,
        freq_range: tuple[float, float] = (20.0, 8000.0),
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        # The greatest magnitude that a tone of amplitude 1 has in a spectrum.
        self.full_scale = float(tight_hann(n_fft, hop_length).sum()) / 2
        self.frames = FrameLayers(3 * num_harmonics, d_model, num_heads, num_layers, dropout)
        self.to_amplitudes = nn.Linear(d_model, num_harmonics)
        self.to_directions = nn.Linear(d_model, 2 * (n_fft // 2 + 1))
        mel = TriangleFilterBank(num_harmonics, n_fft, sample_rate, freq_range, learnable=False)
        # Where a mel filter is 0 a little is left, so that every entry can learn.
        self.spread = nn.Parameter(torch.log(torch.expm1(mel.filters().clamp_min(1e-3))))

    def forward(
        self,
        x: Sequence,
        attention_mask: PaddingMask | None = None,
        target_length: int | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B samples"]:
        """Return the sound; frames that are padding are silent.

        Args:
            x: (B, T, 3 H).
            attention_mask: (B, T), 1 = real frame.
            target_length: samples to return; None: (T - 1) hop_length.
            causal: as the encoder's: frames do not see later ones, and frame t ends just before sample t hop_length.

        Raises:
            ValueError: when the mask has not one entry for each frame.
        """
        features = self.frames(x, causal, attention_mask)
        spectrum = self._spectrum(features)
        if attention_mask is not None:
            spectrum = torch.where(_frame_mask(attention_mask, x.shape[1])[..., None], spectrum, 0)
        return istft(spectrum, self.n_fft, self.hop_length, causal, target_length).to(x.dtype)

    def _spectrum(self, features: Sequence) -> Complex[Tensor, "B T F"]:
        wide = torch.promote_types(features.dtype, torch.float32)
        amplitudes = F.softplus(self.to_amplitudes(features).to(wide) - QUIET) * self.full_scale
        cosine, sine = self.to_directions(features).to(wide).chunk(2, -1)
        with full_precision(features):
            magnitude = amplitudes @ F.softplus(self.spread.to(wide))
        scale = magnitude * (cosine.square() + sine.square() + 1e-6).rsqrt()
        return torch.complex(scale * cosine, scale * sine)


class FrameLayers(nn.Module):
    """Features of frames (B, T, C) to (B, T, d_model), normalised, through layers of attention and feed-forward.

    Args:
        channels: width of the features.
        d_model: width of the layers.
        num_heads: attention heads.
        num_layers: number of layers.
        dropout: probability.
    """

    def __init__(self, channels: int, d_model: int, num_heads: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(channels, d_model)
        attention = [FlashAttention(d_model, num_heads, dropout, rotary=True) for _ in range(num_layers)]
        self.layers = nn.ModuleList(PreNormBlock(mixer, 2 * d_model, dropout) for mixer in attention)
        self.norm = RMSNorm(d_model)

    def forward(self, x: Sequence, causal: bool, attention_mask: PaddingMask | None) -> Float[Tensor, "B T width"]:
        """Return what the layers know of each frame."""
        x = self.project(x)
        for layer in self.layers:
            x = layer(x, causal, attention_mask)
        return self.norm(x)


def _frame_mask(attention_mask: PaddingMask, steps: int) -> Bool[Tensor, "B T"]:
    if attention_mask.shape[1] != steps:
        raise ValueError(
            f"attention_mask has {attention_mask.shape[1]} entries a row, wanted one for each of {steps} frames"
        )
    return attention_mask.bool()
