"""From sound to features: a mel spectrogram, convolutions, and blocks over time."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from undula.models.audio_layers import before_end
from undula.models.backbone import Backbone
from undula.models.init import initialise
from undula.models.senses_config import AudioEncoderConfig
from undula.models.spectral_config import SpectralConfig
from undula.nn.frame_stem import FrameStem
from undula.nn.signal_embedding import SignalPositionalEncoding
from undula.ops.mel import frame_sizes, levelled, log_mel

POSITIONS = 1024
"""Positions over which the slowest sinusoid of positions turns by one radian; there may be more."""


class SpectralAudioEncoder(nn.Module):
    """Features (B, P, D) of sound, and which of them are real: backbone(stem(levelled(log mel spectrogram))).

    A spectrogram (`ops.mel.log_mel`) has a frame every 10 ms; the stem leaves P = ceil(frames / 2^halvings) positions,
    one every 40 ms by default. Recordings of any length may come, shorter than a frame too: one sample is one frame. A
    silent recording is one of zeros. What stands behind a recording's end, and how long the padding is, changes nothing
    at its real positions; a row of length 0 has none.

    Causal, position j is a function of the samples up to number 2^halvings j hop_length, whatever comes later; so a
    recording may end with up to 2^halvings - 1 frames that no position has heard.

    Args:
        config: the encoder, as documented (modality="audio") or as plain data.

    Raises:
        ValueError: for another modality, a number out of range, or as `Backbone` does.

    Attributes: stem, positions, backbone; d_model, causal, hop_length (samples from one frame to the next).

    Source: Spectral Neural Networks; Radford et al., "Whisper", arXiv 2212.04356 (the stem).
    """

    def __init__(self, config: SpectralConfig | AudioEncoderConfig) -> None:
        super().__init__()
        plan = config.audio() if isinstance(config, SpectralConfig) else config
        if plan.num_mels < 1 or plan.halvings < 0:
            raise ValueError(
                f"num_mels={plan.num_mels}, halvings={plan.halvings}; wanted at least one band, and no fewer than 0"
            )
        self.sample_rate, self.num_mels, self.causal = plan.sample_rate, plan.num_mels, plan.causal
        self.hop_length = frame_sizes(plan.sample_rate)[1]
        self.d_model = plan.backbone.d_model
        self.stem = FrameStem(plan.num_mels, self.d_model, plan.halvings, plan.causal)
        self.positions = SignalPositionalEncoding(POSITIONS, self.d_model)
        self.backbone = Backbone(plan.backbone)
        initialise(self, plan.backbone.num_layers)

    def forward(
        self,
        *,
        waveform: Float[Tensor, "B L"] | None = None,
        mel: Float[Tensor, "B M T"] | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B P D"], Bool[Tensor, "B P"]]:
        """Return the features, and which positions are real.

        Args:
            waveform: samples between -1 and 1.
            mel: spectrograms in place of samples, logarithms of powers, as `log_mel` gives them.
            lengths: samples, or frames, of each row that are real; the rest, on the right, is ignored. None: all.

        Raises:
            ValueError: for neither or both of waveform and mel, for nothing to hear, or another number of bands.
        """
        if (waveform is None) == (mel is None):
            raise ValueError(
                f"got {'neither' if mel is None else 'both'} of waveform (batch, samples) and mel (batch, bands, "
                "frames); give one of them"
            )
        x, real = self._frames(waveform, mel, lengths)
        x, real = self.stem(levelled(x, real, self.causal).to(self.positions.amplitude.dtype), real)
        x = self.backbone(self.positions(x), self.causal, real)
        return x, torch.ones_like(x[..., 0], dtype=torch.bool) if real is None else real

    def _frames(
        self, waveform: Tensor | None, mel: Tensor | None, lengths: Tensor | None
    ) -> tuple[Float[Tensor, "B M T"], Bool[Tensor, "B T"] | None]:
        """The spectrograms, and which of their frames are real."""
        given = waveform if mel is None else mel
        if given is None or not given.shape[-1]:
            raise ValueError("got recordings of no samples or frames at all; wanted at least one")
        if mel is not None:
            if mel.shape[1] != self.num_mels:
                raise ValueError(f"got spectrograms of {mel.shape[1]} bands, wanted num_mels={self.num_mels}")
            return mel, None if lengths is None else before_end(lengths, mel.shape[2])
        if lengths is not None:
            given = torch.where(before_end(lengths, given.shape[1]), given, 0.0)
        frames = log_mel(given, self.sample_rate, self.num_mels, self.causal)
        if lengths is None:
            return frames, None
        return frames, before_end(-(-lengths // self.hop_length), frames.shape[2])
