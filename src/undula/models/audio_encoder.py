"""From sound to waves: the encoder of the Wave Transformer for audio."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.mixers.base import State
from undula.models.audio_layers import AMPLITUDE, FrameLayers, before_end, check_finite, check_sound, frame_mask
from undula.models.backbone import States
from undula.nn.filterbank import TriangleFilterBank
from undula.ops.phase import cos_sin, phase_of
from undula.ops.stft import frame_spectra, tight_hann
from undula.shapes import PaddingMask
from undula.wave import Wave

SILENCE = 1e-5
"""Amplitude below which a filter's phase fades out: 100 dB below full scale."""

START = 1e-4
"""Spread of the weights that say how the layers change what was measured: a fresh encoder measures."""


@dataclass
class AudioEncoderState(State):
    """The samples that the next frame still sees, and what the layers remember."""

    recent: Float[Tensor, "B L"]
    layers: States


class AudioWaveEncoder(nn.Module):
    """Sound (B, L) to waves: every frame gets H harmonics, in Hz, amplitudes of the samples' unit, and radians.

    A short-time Fourier transform, a bank of H triangular filters with learned centres and flanks, and layers that see
    all frames (causal: all earlier ones). A filter's amplitude and phase at the middle of the frame are measured, and
    its frequency is how fast that phase turns there. The layers then change all three: amplitudes by a factor, phases
    by turning their direction, which has no seam at pi, frequencies by a few bins within `freq_range`. The layers start
    near silence: a fresh encoder gives what it measures.

    There are T = 1 + L // hop_length frames. Frame t is centred at sample t hop_length; causal, it is a function of the
    samples before that one, and centred n_fft - n_fft // 2 samples earlier. Sound may come in pieces, with a state.

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
        mixer: name of the layers' mixer; one of bounded state, such as "short_conv", streams in constant memory.

    Raises:
        ValueError: when the frequencies do not ascend within half the sample rate, or heads do not divide the width.

    Source: Wave Transformer core documentation; Flanagan and Golden, "Phase Vocoder", Bell Syst. Tech. J. 45 (1966).
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
        *,
        mixer: str = "attention",
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.sample_rate = n_fft, hop_length, sample_rate
        # A band's sum over bins is the band's signal at the middle of the frame, times this. On the CPU, since a model
        # that is about to be loaded is built on a device without numbers.
        self.full_scale = float(tight_hann(n_fft, hop_length, device=torch.device("cpu"))[n_fft // 2]) * n_fft / 2
        self.filterbank = TriangleFilterBank(num_harmonics, n_fft, sample_rate, freq_range, learnable_filterbank)
        self.frames = FrameLayers(4 * num_harmonics, d_model, num_heads, num_layers, dropout, mixer)
        self.to_components = nn.Linear(d_model, 4 * num_harmonics)
        nn.init.normal_(self.to_components.weight, std=START)
        nn.init.zeros_(self.to_components.bias)

    @property
    def units(self) -> tuple[float, float, float]:
        """What frequencies, amplitudes and phases are divided by where layers are to hear all three alike."""
        return self.filterbank.high, AMPLITUDE, 1.0

    def forward(
        self,
        audio: Tensor,
        attention_mask: PaddingMask | None = None,
        causal: bool = False,
        *,
        lengths: Int[Tensor, " B"] | None = None,
        state: AudioEncoderState | None = None,
    ) -> Wave | tuple[Wave, AudioEncoderState]:
        """Return the waves of all frames, (B, T, H); with a state, those that are whole by now, and the new state.

        Args:
            audio: (B, L), samples between -1 and 1; with a state, the samples that follow.
            attention_mask: (B, T), 1 = real frame, on the frames, not on the samples; samples between two frames count
                only if both are real, so give paddings in whole hops.
            causal: whether frames see no later samples; with a state they never do.
            lengths: samples of each row that are real, in place of a mask: the rest, on the right, is ignored.
            state: from `init_state` or an earlier call.

        Raises:
            ValueError: as `check_sound` and `check_finite`; when the mask has not one entry for each frame, or two of
                state, mask and lengths are given.
        """
        check_sound(audio)
        if state is not None:
            if lengths is not None or attention_mask is not None:
                raise ValueError("lengths or a mask with a state: a stream has no end; leave them out")
            return self._continue(check_finite(audio), state)
        steps = 1 + audio.shape[1] // self.hop_length
        if lengths is not None and attention_mask is not None:
            raise ValueError("lengths and attention_mask both say what is real; give one of them")
        if lengths is not None:
            audio = torch.where(before_end(lengths, audio.shape[1]), audio, 0.0)
            attention_mask = self.real_frames(audio, lengths)
        elif attention_mask is not None:
            real = frame_mask(attention_mask, steps)
            audio = torch.where(self._real_samples(real, audio.shape[1]), audio, 0.0)
        before = self.n_fft if causal else self.n_fft // 2
        wave, _ = self._waves(
            F.pad(check_finite(audio), (before + 1, self.n_fft - before)), causal, attention_mask, None
        )
        return wave

    def real_frames(self, audio: Float[Tensor, "B L"], lengths: Int[Tensor, " B"]) -> Bool[Tensor, "B T"]:
        """Return which frames are centred before the end of each row's real samples."""
        return before_end(1 + lengths // self.hop_length, 1 + audio.shape[1] // self.hop_length)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> AudioEncoderState:
        """Return the state before the first sample: silence."""
        weight = self.to_components.weight
        nothing = torch.zeros(batch_size, self.n_fft + 1, device=device or weight.device, dtype=dtype or weight.dtype)
        return AudioEncoderState(nothing, self.frames.init_state(batch_size, device, dtype))

    def _continue(self, audio: Float[Tensor, "B L"], state: AudioEncoderState) -> tuple[Wave, AudioEncoderState]:
        """The frames that samples so far make whole. `recent` begins where the next frame does, a sample earlier."""
        samples = torch.cat([state.recent, audio], 1)
        steps = 1 + (samples.shape[1] - self.n_fft - 1) // self.hop_length
        if steps < 1:
            nothing = audio.new_zeros(len(audio), 0, self.filterbank.centre.shape[0])
            return Wave(nothing, nothing, nothing), AudioEncoderState(samples, state.layers)
        wave, layers = self._waves(samples, True, None, state.layers)
        return wave, AudioEncoderState(samples[:, steps * self.hop_length :], layers or ())

    def _waves(
        self,
        samples: Float[Tensor, "B L"],
        causal: bool,
        attention_mask: PaddingMask | None,
        state: States | None,
    ) -> tuple[Wave, States | None]:
        """The waves of the frames within samples[1:]; the first sample is there for the frequencies."""
        # Side by side, so that the filters are made and applied once.
        heard, earlier = self._heard(torch.cat([samples[:, 1:], samples[:, :-1]])).chunk(2)
        size = torch.view_as_real(heard).square().sum(-1).add(SILENCE**2).sqrt()
        direction = torch.view_as_real(heard) / size[..., None]
        offset = self._offset(heard, earlier)
        loudness = 1 + torch.log(size) / -math.log(SILENCE)
        features = torch.cat([loudness, direction[..., 0], direction[..., 1], offset / self.filterbank.hz_per_bin], -1)
        known, after = self.frames(features.to(samples.dtype), causal, attention_mask, state)
        move, grow, real_turn, imag_turn = self.to_components(known).to(size.dtype).chunk(4, -1)
        bank = self.filterbank
        frequencies = bank.centres().to(size.dtype) + offset + bank.hz_per_bin * move
        # A sine at phase phi has the spectrum of a cosine a quarter turn behind: (sin, cos) = (real, -imaginary).
        phases = phase_of(direction[..., 0] + real_turn, imag_turn - direction[..., 1])
        wave = Wave(frequencies.clamp(bank.low, bank.high), size * torch.exp(grow.clamp(-10, 10)), phases)
        return wave.to(samples.dtype), after

    def _heard(self, samples: Float[Tensor, "B L"]) -> Complex[Tensor, "B T H"]:
        return self.filterbank(frame_spectra(samples, self.n_fft, self.hop_length)) / self.full_scale

    def _offset(self, heard: Complex[Tensor, "B T H"], earlier: Complex[Tensor, "B T H"]) -> Float[Tensor, "B T H"]:
        """How much faster than its filter's centre each band turns from one sample to the next, in Hz; 0 in silence."""
        turned = torch.view_as_real(heard * earlier.conj())
        radians = self.filterbank.centres().to(turned.dtype) * (2 * math.pi / self.sample_rate)
        cosine, sine = cos_sin(radians, turned.dtype)
        along = turned[..., 0] * cosine + turned[..., 1] * sine + SILENCE**2
        across = turned[..., 1] * cosine - turned[..., 0] * sine
        return phase_of(across, along) * (self.sample_rate / (2 * math.pi))

    def _real_samples(self, real: Bool[Tensor, "B T"], length: int) -> Bool[Tensor, "B L"]:
        both = real & torch.cat([real[:, 1:], real[:, -1:]], 1)
        return both.repeat_interleave(self.hop_length, 1)[:, :length]
