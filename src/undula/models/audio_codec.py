"""A codec for sound: waveform to frames of waves and back, causal, in pieces or in one go."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.mixers.base import State
from undula.models.audio_decoder import AudioDecoderState, AudioWaveDecoder
from undula.models.audio_encoder import AudioEncoderState, AudioWaveEncoder
from undula.models.audio_layers import before_end, check_sound
from undula.models.config import AudioCodecConfig
from undula.wave import Wave


@dataclass
class AudioCodecState(State):
    """What encoder and decoder remember."""

    encoder: AudioEncoderState
    decoder: AudioDecoderState


class AudioCodec(nn.Module):
    """Sound (B, L) to waves and back to sound: a causal encoder and decoder of the same frames.

    Sample n of the reconstruction is a function of the samples before n + latency. Given in pieces, with a state, the
    sound comes out that much later; given whole, the delay is taken out, so that input and output lie over each other.

    Args:
        config: sizes of both.

    Attributes: encoder, decoder; latency: in samples; numbers_per_sample: of the waves, 3 H for each hop.
    """

    def __init__(self, config: AudioCodecConfig) -> None:
        super().__init__()
        shared = {
            "num_harmonics": config.num_harmonics,
            "sample_rate": config.sample_rate,
            "n_fft": config.n_fft,
            "hop_length": config.hop_length,
            "d_model": config.d_model,
            "num_heads": config.num_heads,
            "num_layers": config.num_layers,
            "dropout": config.dropout,
            "freq_range": config.freq_range,
            "mixer": config.mixer,
        }
        self.config = config
        self.encoder = AudioWaveEncoder(**shared)
        self.decoder = AudioWaveDecoder(**shared)
        self.latency = self.decoder.latency
        self.numbers_per_sample = 3 * config.num_harmonics / config.hop_length

    def encode(self, audio: Float[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None) -> Wave:
        """Return the waves of a sound, followed by as much silence as the decoder needs for its last sample.

        Args:
            audio: samples between -1 and 1.
            lengths: samples of each row that are real; None: all.

        Raises:
            ValueError: as `check_sound` does.
        """
        check_sound(audio)
        if lengths is not None:
            audio = torch.where(before_end(lengths, audio.shape[1]), audio, 0.0)
        wave = self.encoder(F.pad(audio, (0, self.latency)), causal=True)
        return wave[0] if isinstance(wave, tuple) else wave

    def forward(
        self,
        audio: Float[Tensor, "B L"],
        lengths: Int[Tensor, " B"] | None = None,
        *,
        state: AudioCodecState | None = None,
    ) -> Float[Tensor, "B samples"] | tuple[Float[Tensor, "B samples"], AudioCodecState]:
        """Return the reconstruction, as long as the sound; with a state, what is whole by now, and the new state.

        Args:
            audio: samples between -1 and 1; with a state, those that follow.
            lengths: samples of each row that are real; the rest of the reconstruction is 0. Not with a state.
            state: from `init_state` or an earlier call. A stream ends with `latency` samples of silence.
        """
        if state is not None:
            wave, encoder = self.encoder(audio, state=state.encoder, lengths=lengths)
            sound, decoder = self.decoder(wave, state=state.decoder)
            return sound, AudioCodecState(encoder, decoder)
        sound = self.decoder(self.encode(audio, lengths), causal=True, target_length=audio.shape[1])
        return sound if lengths is None else torch.where(before_end(lengths, audio.shape[1]), sound, 0.0)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> AudioCodecState:
        """Return the state before the first sample."""
        return AudioCodecState(
            self.encoder.init_state(batch_size, device=device, dtype=dtype),
            self.decoder.init_state(batch_size, device=device, dtype=dtype),
        )
