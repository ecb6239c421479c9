"""From waves to sound: the decoder of the Wave Transformer for audio."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.mixers.base import State
from undula.models.audio_layers import AMPLITUDE, FrameLayers, frame_mask
from undula.models.backbone import States
from undula.nn.filterbank import checked_range
from undula.ops.overlap import overlap_add
from undula.ops.phase import full_precision
from undula.ops.stft import tight_hann, windowed_frames
from undula.ops.synthesis import sinusoid_frames
from undula.shapes import PaddingMask, Sequence
from undula.wave import Wave

QUIET = 5.0
"""Shift before the softplus of what the layers may say on their own: near exp(-5) of full scale at first."""

START = 1e-4
"""Spread of the weights of the learned part: a fresh decoder plays its sinusoids."""

FLOOR = 1e-6
"""Loudness of a frame below which what the layers see of it fades out."""

TAPS = 3
"""Frames that the linear part sees: the present one and those before it."""


@dataclass
class AudioDecoderState(State):
    """Sound that is not whole yet, how many samples of it to skip, the last frames, and what the layers remember."""

    unfinished: Float[Tensor, "B L"]
    skip: int
    recent: Float[Tensor, "B taps C"]
    layers: States


class AudioWaveDecoder(nn.Module):
    """Waves, or what a model made of their representation (B, T, 3 H), to sound (B, samples).

    Sinusoids and a learned rest. Each frame's harmonics sound under a window that fades into the neighbouring frames,
    so that at the middle of a frame frequencies, amplitudes and phases are exactly that frame's. What sinusoids cannot
    say, noise, onsets, and what lies between two frames, is a spectrum for each frame, put together by one inverse
    short-time transform: a linear map of the last three frames' sines and cosines, A sin phi and A cos phi, and a map
    of what layers know, as loud as the frame. It starts near silence: a fresh decoder plays its sinusoids. All of it is
    differentiable, in one pass. Behind a model whose last norm has taken the units away, the sinusoids are next to
    nothing and the layers say it all.

    Args:
        num_harmonics: harmonics H of each wave.
        sample_rate: samples per second.
        n_fft: length of a frame in samples.
        hop_length: samples from one frame to the next.
        d_model: width of the layers.
        num_heads: attention heads of the layers.
        num_layers: number of layers.
        dropout: probability.
        freq_range: lowest and highest frequency in Hz, which the layers see as 0 and 1.
        mixer: name of the layers' mixer; one of bounded state, such as "short_conv", streams in constant memory.

    Raises:
        ValueError: when the frequencies do not ascend within half the sample rate, or heads do not divide the width.

    Attributes: latency: with causal=True, sample n needs the frames up to (n + latency) // hop_length.

    Source: Wave Transformer core documentation; George and Smith, "Analysis-by-synthesis/overlap-add sinusoidal
    modeling", J. Audio Eng. Soc. 40 (1992); Serra and Smith, "Spectral modeling synthesis" (1990), for the rest;
    Siuzdak, "Vocos", arXiv 2306.00814 (one inverse transform).
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
        *,
        mixer: str = "attention",
    ) -> None:
        super().__init__()
        self.low, self.high = checked_range(freq_range, sample_rate)
        self.n_fft, self.hop_length, self.sample_rate = n_fft, hop_length, sample_rate
        # The greatest magnitude that a tone of amplitude 1 has in a spectrum. On the CPU: see the encoder.
        self.full_scale = float(tight_hann(n_fft, hop_length, device=torch.device("cpu")).sum()) / 2
        self.before = max(n_fft // 2, hop_length)
        self.after = max(n_fft - n_fft // 2, hop_length)
        self.latency = n_fft - n_fft // 2 + self.before
        self.frames = FrameLayers(3 * num_harmonics + 1, d_model, num_heads, num_layers, dropout, mixer)
        self.to_loudness = nn.Linear(d_model, 1)
        bins = 2 * (n_fft // 2 + 1)
        self.to_spectrum = nn.Linear(d_model, bins)
        self.linear = nn.Linear(TAPS * 2 * num_harmonics, bins, bias=False)
        nn.init.normal_(self.to_spectrum.weight, std=START)
        nn.init.zeros_(self.to_spectrum.bias)
        nn.init.normal_(self.linear.weight, std=START)

    @property
    def units(self) -> tuple[float, float, float]:
        """What frequencies, amplitudes and phases are multiplied by where layers have made them of one size."""
        return self.high, AMPLITUDE, 1.0

    def forward(
        self,
        x: Sequence | Wave,
        attention_mask: PaddingMask | None = None,
        target_length: int | None = None,
        causal: bool = False,
        *,
        state: AudioDecoderState | None = None,
    ) -> Float[Tensor, "B samples"] | tuple[Float[Tensor, "B samples"], AudioDecoderState]:
        """Return the sound; frames that are padding are silent. With a state, what is whole by now, and the new state.

        Args:
            x: waves (B, T, H), or their representation (B, T, 3 H); with a state, those that follow.
            attention_mask: (B, T), 1 = real frame.
            target_length: samples to return; None: (T - 1) hop_length.
            causal: as the encoder's: frames do not see later ones, and frame t ends just before sample t hop_length.
            state: from `init_state` or an earlier call; frames then never see later ones. In all, T frames make
                T hop_length - latency samples whole.

        Raises:
            ValueError: when the mask has not one entry for each frame, or a state is joined by a target length.
        """
        wave = x if isinstance(x, Wave) else Wave.from_representation(x)
        if attention_mask is not None:
            real = frame_mask(attention_mask, wave.shape[1])[..., None]
            wave = Wave(*(torch.where(real, part, 0.0) for part in (wave.frequencies, wave.amplitudes, wave.phases)))
        if state is not None:
            if target_length is not None:
                raise ValueError(f"target_length={target_length} with a state: a stream has no end; leave it out")
            return self._continue(wave, attention_mask, state)
        frames, _, _ = self._frames(wave, causal, attention_mask, None, None)
        sound = overlap_add(frames, self.hop_length)[:, self.latency if causal else self.before :]
        length = (wave.shape[1] - 1) * self.hop_length if target_length is None else target_length
        return F.pad(sound, (0, max(0, length - sound.shape[1])))[:, :length]

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> AudioDecoderState:
        """Return the state before the first frame."""
        weight = self.linear.weight
        like = {"device": device or weight.device, "dtype": dtype or weight.dtype}
        unfinished = torch.zeros(batch_size, self.before + self.after - self.hop_length, **like)
        recent = torch.zeros(batch_size, TAPS - 1, self.linear.in_features // TAPS, **like)
        return AudioDecoderState(unfinished, self.latency, recent, self.frames.init_state(batch_size, device, dtype))

    def _continue(
        self, wave: Wave, attention_mask: PaddingMask | None, state: AudioDecoderState
    ) -> tuple[Float[Tensor, "B samples"], AudioDecoderState]:
        whole = wave.shape[1] * self.hop_length
        if whole == 0:
            return state.unfinished[:, :0], state
        frames, recent, layers = self._frames(wave, True, attention_mask, state.recent, state.layers)
        sound = overlap_add(frames, self.hop_length)
        sound = sound + F.pad(
            state.unfinished, (0, whole - self.hop_length + self.before + self.after - state.unfinished.shape[1])
        )
        skipped = min(state.skip, whole)
        after = AudioDecoderState(sound[:, whole:], state.skip - skipped, recent, layers or ())
        return sound[:, skipped:whole], after

    def _frames(
        self,
        wave: Wave,
        causal: bool,
        attention_mask: PaddingMask | None,
        recent: Float[Tensor, "B taps C"] | None,
        state: States | None,
    ) -> tuple[Float[Tensor, "B T L"], Float[Tensor, "B taps C"], States | None]:
        """Each frame's samples, from `before` samples before its middle, the last frames, and the layers' state."""
        f, a, p = wave.frequencies, wave.amplitudes, wave.phases
        sines = torch.cat([a * p.sin(), a * p.cos()], -1)
        recent = sines.new_zeros(len(sines), TAPS - 1, sines.shape[-1]) if recent is None else recent
        known = torch.cat([recent, sines], 1)
        loud = a.square().mean(-1, keepdim=True).add(FLOOR**2).sqrt()
        pitch = (f - self.low) / (self.high - self.low)
        features, state = self.frames(torch.cat([sines / loud, pitch, loud.log()], -1), causal, attention_mask, state)
        rest = windowed_frames(self._spectrum(features, loud, known), self.n_fft, self.hop_length)
        if attention_mask is not None:
            rest = torch.where(attention_mask.bool()[..., None], rest, 0.0)
        tones = sinusoid_frames(f, a, p, self.hop_length, self.sample_rate)
        low, high = self.before - self.hop_length, self.after - self.hop_length
        half = self.n_fft // 2
        frames = F.pad(tones, (low, high)) + F.pad(
            rest.to(tones.dtype), (self.before - half, self.after - self.n_fft + half)
        )
        return frames, known[:, known.shape[1] - TAPS + 1 :], state

    def _spectrum(
        self, features: Sequence, loud: Float[Tensor, "B T 1"], known: Float[Tensor, "B S C"]
    ) -> Complex[Tensor, "B T F"]:
        wide = torch.promote_types(loud.dtype, torch.float32)
        loudness = loud.to(wide) + F.softplus(self.to_loudness(features).to(wide) - QUIET)
        stacked = torch.cat([known[:, i : i + features.shape[1]] for i in range(TAPS)], -1)
        with full_precision(features):
            straight = F.linear(stacked.to(wide), self.linear.weight.to(wide))
        real, imag = (self.full_scale * (loudness * self.to_spectrum(features).to(wide) + straight)).chunk(2, -1)
        return torch.complex(real.contiguous(), imag.contiguous())
