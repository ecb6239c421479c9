"""A picture of a recording, with the waves that a codec hears in it."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

from undula.data.audio import load_audio, read_audio
from undula.experiments.codec import load_codec_run
from undula.models.audio_encoder import AudioWaveEncoder
from undula.viz.sound import sound_figure

FRAME_SECONDS = 0.04
"""Length of a frame where no codec says: two periods of a low voice, at least."""
BANDS = 48


def sound_picture(path: Path, run: Path | None = None) -> Figure:
    """Return the picture of a recording.

    Args:
        path: the recording.
        run: of a codec: its waves and its reconstruction are drawn, at its sample rate; None: the waves that filters
            measure, at the recording's own rate.

    Raises:
        FileNotFoundError: when there is no such recording or run.
        ValueError: when the recording cannot be read or holds no sample, or the run is not that of a codec.
    """
    rate = read_audio(path)[1]
    codec = None if run is None else load_codec_run(run)
    sample_rate = rate if codec is None else codec.config.sample_rate
    sound = load_audio(path, sample_rate)
    if not len(sound):
        raise ValueError(f"{path} holds no sample; give a recording with sound")
    with torch.no_grad():
        encoder = measuring_encoder(sample_rate) if codec is None else codec.encoder
        wave = encoder(sound[None]) if codec is None else codec.encode(sound[None])
        made = None if codec is None else codec(sound[None])[0]
    # Causal frames end where centred ones have their middle.
    delay = 0 if codec is None else encoder.n_fft - encoder.n_fft // 2
    times = (torch.arange(wave.shape[1]) * encoder.hop_length - delay) / sample_rate
    return sound_figure(sound, wave[0], times, sample_rate, made)


def measuring_encoder(sample_rate: int) -> AudioWaveEncoder:
    """Return an encoder that gives what mel filters measure, for any sample rate: nothing is learned in it."""
    n_fft = 8 * max(2, round(FRAME_SECONDS * sample_rate / 8))
    top = 0.45 * sample_rate
    encoder = AudioWaveEncoder(
        min(BANDS, n_fft // 4),
        sample_rate,
        n_fft,
        n_fft // 8,
        d_model=2,
        num_heads=1,
        num_layers=0,
        freq_range=(min(20.0, top / 10), top),
    )
    torch.nn.init.zeros_(encoder.to_components.weight)
    return encoder.eval()
