"""The waves that a model has learned: over a sequence, as spectrum and phases, and played one after another."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from undula.ops.phase import wrap_phase
from undula.ops.stft import log_spectrogram
from undula.ops.wave import synthesize_sequence
from undula.viz.style import (
    ANGLE,
    COLOURS,
    MAGNITUDE,
    POWER,
    angle_axis,
    grid_of_axes,
    mark_tokens,
    styled,
)
from undula.wave import Wave

TOKEN_UNIT = "cycles per token"
"""What the waves of language models count their frequencies in; those of audio are in Hz."""


@styled
def wave_sequence(wave: Wave, tokens: Sequence[str] | None = None, unit: str = TOKEN_UNIT) -> Figure:
    """Draw frequency, amplitude and phase of every harmonic over the positions of a sequence, as three maps.

    Harmonics are sorted by their mean frequency.

    Args:
        wave: (T, H), or with further leading axes, of which the first sequence is drawn.
        tokens: T texts to write under the positions.
        unit: of the frequencies.

    Raises:
        ValueError: when the wave has no axis of positions, or there is not one token for each.
    """
    frequencies, amplitudes, phases = _sequence(wave, tokens)
    order = np.argsort(frequencies.mean(0), kind="stable")
    figure, axes = grid_of_axes(3, 1, 2.8)
    maps: list[tuple[str, np.ndarray, Colormap, tuple[float, float] | None]] = [
        (f"Frequency ({unit})", frequencies, MAGNITUDE, None),
        ("Amplitude", amplitudes, MAGNITUDE, None),
        ("Phase (rad)", phases, ANGLE, (-math.pi, math.pi)),
    ]
    for ax, (title, values, colours, limits) in zip(axes[:, 0], maps, strict=True):
        low, high = limits or (None, None)
        picture = ax.imshow(
            values[:, order].T,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap=colours,
            vmin=low,
            vmax=high,
        )
        bar = figure.colorbar(picture, ax=ax, pad=0.01)
        bar.outline.set_visible(False)
        if limits:
            angle_axis(bar.ax)
        ax.set(title=title, ylabel="Harmonic, low to high")
        ax.grid(visible=False)
    for ax in axes[:-1, 0]:
        ax.tick_params(labelbottom=False)
    mark_tokens(axes[-1, 0], tokens, range(len(frequencies)))
    return figure


@styled
def kept_harmonics(wave: Wave, kept: np.ndarray, tokens: Sequence[str] | None = None) -> Figure:
    """Draw which harmonics a selector keeps at each position, coloured by their amplitude; the others are white.

    Harmonics are sorted by their mean frequency.

    Args:
        wave: (T, H).
        kept: (T, H), true where a harmonic is kept.
        tokens: T texts to write under the positions.

    Raises:
        ValueError: when there is not one choice for each harmonic, or not one token for each position.
    """
    frequencies, amplitudes, _ = _sequence(wave, tokens)
    if kept.shape != amplitudes.shape:
        raise ValueError(f"got choices of shape {kept.shape} for waves of shape {amplitudes.shape}")
    order = np.argsort(frequencies.mean(0), kind="stable")
    figure, axes = grid_of_axes(1, 1, 3.6)
    ax = axes[0, 0]
    shown = np.ma.masked_where(~kept.astype(bool), amplitudes)[:, order].T
    picture = ax.imshow(shown, origin="lower", aspect="auto", interpolation="nearest", cmap=MAGNITUDE)
    figure.colorbar(picture, ax=ax, pad=0.01, label="Amplitude").outline.set_visible(False)
    share = f"{kept.mean():.0%} of the harmonics are kept"
    ax.set(title=f"Kept harmonics: {share}", ylabel="Harmonic, low to high")
    ax.grid(visible=False)
    mark_tokens(ax, tokens, range(len(kept)))
    return figure


@styled
def spectrum_and_phases(wave: Wave, unit: str = TOKEN_UNIT) -> Figure:
    """Draw which amplitudes the harmonics take at their frequencies, and which phases, over all waves given.

    Left: each dot is a harmonic at its mean frequency and mean amplitude; bars reach from the 10th to the 90th
    percentile of both. Right: each dot is a harmonic at the mean direction of its phase; its distance from the centre
    is the length of the mean of exp(i phase): 1 where the phase never changes, 0 where it is spread evenly.

    Args:
        wave: (..., H).
        unit: of the frequencies.
    """
    frequencies, amplitudes, phases = (x.reshape(-1, x.shape[-1]) for x in _numbers(wave))
    figure, axes = grid_of_axes(1, 2, 4.4, ratios=(2, 1), polar=(1,))
    left, right = axes[0]
    f, a = frequencies.mean(0), amplitudes.mean(0)
    spread = [np.abs(np.quantile(x, (0.1, 0.9), axis=0) - m) for x, m in ((frequencies, f), (amplitudes, a))]
    bars = {"ecolor": "#9A9A9A", "elinewidth": 0.8, "fmt": "none", "zorder": 2}
    left.errorbar(f, a, xerr=spread[0], yerr=spread[1], **bars)
    share = (f - f.min()) / max(np.ptp(f), 1e-12)
    colours = MAGNITUDE(0.9 * share)
    left.scatter(f, a, c=colours, s=28, edgecolors="white", linewidths=0.5, zorder=3)
    left.set(title="Spectrum", xlabel=f"Frequency ({unit})", ylabel="Amplitude")
    left.set_ylim(bottom=min(0, float(np.quantile(amplitudes, 0.1))))
    mean = np.exp(1j * phases).mean(0)
    right.scatter(np.angle(mean), np.abs(mean), c=colours, s=28, edgecolors="white", linewidths=0.5, zorder=3)
    right.set_title("Phases: direction and agreement", pad=14, loc="center")
    right.set_rlim(0, 1)
    right.set_rticks([0.25, 0.5, 0.75, 1.0], ["", "0.5", "", "1"])
    right.set_xticks(np.arange(8) * math.pi / 4, ["0", "", "π/2", "", "±π", "", "-π/2", ""])
    right.spines["polar"].set_color("#9A9A9A")
    right.set_xlabel("dark = low frequency, bright = high", fontsize=10)
    return figure


@styled
def passage_spectrogram(wave: Wave, tokens: Sequence[str] | None = None, range_db: float = 40.0) -> Figure:
    """Draw the sound of a passage and its spectrogram: the wave of each token lasts one step and glides into the next.

    Frequencies are in cycles per token. See `ops.wave.synthesize_sequence`; the first and the last wave are held for
    half a frame beyond the passage, so that its ends are drawn too.

    Args:
        wave: (T, H), or with further leading axes, of which the first sequence is drawn.
        tokens: T texts to write under the steps.
        range_db: decibels from the strongest to the weakest colour.

    Raises:
        ValueError: when the wave has no axis of positions, or there is not one token for each.
    """
    parts = _sequence(wave, tokens)
    highest = float(np.abs(parts[0]).max(initial=1e-6))
    rate = max(8, 4 * math.ceil(highest))
    half_frame = min(8, max(1, math.ceil(4 / highest)))
    longer = (np.concatenate([x[:1].repeat(half_frame, 0), x, x[-1:].repeat(half_frame, 0)]) for x in parts)
    sound = synthesize_sequence(*(torch.from_numpy(x) for x in longer), samples_per_step=rate, sample_rate=rate)
    decibels = log_spectrogram(sound, 2 * half_frame * rate, max(1, rate // 16), range_db).T.numpy()
    figure, axes = grid_of_axes(2, 1, 2.7)
    steps, (top, bottom) = len(parts[0]), axes[:, 0]
    signal = sound[half_frame * rate : -half_frame * rate].numpy()
    top.plot(np.arange(len(signal)) / rate, signal, color=COLOURS[0], linewidth=0.8)
    top.set(title="Sound of the passage", ylabel="Amplitude", xlim=(0, steps))
    top.tick_params(labelbottom=False)
    picture = bottom.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        extent=(0, steps, 0, rate / 2),
        cmap=POWER,
        vmin=-range_db,
        vmax=0,
        interpolation="bilinear",
    )
    figure.colorbar(picture, ax=bottom, pad=0.01, label="Power (dB)").outline.set_visible(False)
    bottom.set(title="Spectrogram", ylabel="Cycles per token", ylim=(0, min(rate / 2, 1.25 * highest)))
    bottom.grid(visible=False)
    mark_tokens(bottom, tokens, [i + 0.5 for i in range(steps)])
    return figure


def _numbers(wave: Wave) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    plain = wave.detach().cpu().to(torch.float64)
    return plain.frequencies.numpy(), plain.amplitudes.numpy(), wrap_phase(plain.phases).numpy()


def _sequence(wave: Wave, tokens: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers (T, H) of the first sequence."""
    if len(wave.shape) < 2:
        raise ValueError(f"the wave has shape {tuple(wave.shape)}; give a sequence of waves, (T, num_harmonics)")
    one = wave[(0,) * (len(wave.shape) - 2)] if len(wave.shape) > 2 else wave
    if tokens is not None and len(tokens) != one.shape[0]:
        raise ValueError(f"got {len(tokens)} tokens for {one.shape[0]} waves; give one for each")
    return _numbers(one)
