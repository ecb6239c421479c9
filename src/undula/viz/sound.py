"""A recording: its waveform, its spectrogram and its partials; and its reconstruction beside it."""

import math

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from undula.ops.stft import log_spectrogram
from undula.viz.style import COLOURS, MAGNITUDE, POWER, grid_of_axes, styled
from undula.wave import Wave

RANGE_DB = 60.0
"""From the strongest to the weakest partial and colour that is drawn."""
COLUMNS = 400
"""About so many frames of a spectrogram stand side by side, however long the recording."""


@styled
def sound_figure(
    sound: Float[Tensor, " L"],
    wave: Wave,
    times: Float[Tensor, " T"],
    sample_rate: int,
    reconstruction: Float[Tensor, " L"] | None = None,
) -> Figure:
    """Draw waveform, spectrogram and partials of a recording, one below the other.

    A partial is a dot at its frequency for each frame, the brighter the louder; those 60 dB below the loudest are left
    out. With a reconstruction, a second column has its waveform, its spectrogram, and what it differs by.

    Args:
        sound: samples.
        wave: (T, H), frequencies in Hz.
        times: of the frames, in seconds.
        sample_rate: samples per second.
        reconstruction: of the recording, as long as it is.
    """
    figure, axes = grid_of_axes(3, 1 if reconstruction is None else 2, 2.8)
    highest = float(sound.abs().max()) if len(sound) else 0.0
    limit = 1.05 * highest or 1.0
    _waveform(axes[0, 0], sound, sample_rate, "Waveform", limit)
    _spectrogram(axes[1, 0], sound, sample_rate, "Spectrogram")
    _partials(axes[2, 0], wave, times, sample_rate)
    if reconstruction is not None:
        _waveform(axes[0, 1], reconstruction, sample_rate, "Reconstruction", limit, COLOURS[2])
        _spectrogram(axes[1, 1], reconstruction, sample_rate, "Its spectrogram")
        _waveform(axes[2, 1], reconstruction - sound, sample_rate, "Difference", limit, COLOURS[1])
    for ax in axes[-1]:
        ax.set_xlabel("Time (s)")
    for ax in axes.flat:
        ax.set_xlim(0, max(len(sound), 1) / sample_rate)
    return figure


def _waveform(ax: Axes, sound: Tensor, sample_rate: int, title: str, limit: float, colour: str = COLOURS[0]) -> None:
    ax.plot(np.arange(len(sound)) / sample_rate, sound.numpy(), linewidth=0.7, color=colour)
    ax.set(title=title, ylabel="Amplitude", ylim=(-limit, limit))


def _spectrogram(ax: Axes, sound: Tensor, sample_rate: int, title: str) -> None:
    n_fft = 2 * max(8, round(0.016 * sample_rate))
    # Half a frame of silence on either side: the first and the last sample are in the middle of a frame, too.
    padded = torch.nn.functional.pad(sound, (n_fft // 2, n_fft // 2))
    hop = min(n_fft // 2, max(1, len(sound) // COLUMNS))
    decibels = log_spectrogram(padded, n_fft, hop, RANGE_DB)
    duration = max(len(sound), 1) / sample_rate
    ax.imshow(
        decibels.T.numpy(),
        origin="lower",
        aspect="auto",
        extent=(0, duration, 0, sample_rate / 2),
        cmap=POWER,
        vmin=-RANGE_DB,
        vmax=0,
    )
    ax.set(title=f"{title} ({RANGE_DB:.0f} dB below its peak)", ylabel="Frequency (Hz)")
    ax.grid(visible=False)


def _partials(ax: Axes, wave: Wave, times: Tensor, sample_rate: int) -> None:
    frequencies, amplitudes = wave.frequencies.numpy(), wave.amplitudes.numpy()
    top = max(float(amplitudes.max(initial=0.0)), 1e-12)
    decibels = 20 * np.log10(np.maximum(amplitudes / top, 1e-12))
    shown = decibels > -RANGE_DB
    x = np.broadcast_to(times.numpy()[:, None], frequencies.shape)
    order = np.argsort(decibels[shown], kind="stable")
    colours = MAGNITUDE(1 + decibels[shown][order] / RANGE_DB)
    ax.scatter(x[shown][order], frequencies[shown][order], c=colours, s=5, linewidths=0)
    ax.set(title="Partials (bright = loud)", ylabel="Frequency (Hz)")
    ax.set_ylim(0, min(sample_rate / 2, 1.05 * math.ceil(float(frequencies.max(initial=1.0)))))
