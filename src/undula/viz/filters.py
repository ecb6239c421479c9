"""Long filters made of damped harmonics: impulse responses, spectra, and poles in the complex plane."""

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import ArrayLike

from undula.ops.fft import rfft
from undula.viz.style import INK, MAGNITUDE, grid_of_axes, styled


@styled
def impulse_responses(responses: ArrayLike, shown: int = 6) -> Figure:
    """Draw impulse responses over time, their gains over frequency, and how long all of them remember.

    Memory is the number of steps within which a filter has 90 % of its energy. The filters drawn as lines are spread
    evenly over the channels in order of their memory; the third picture has the memory of every channel.

    Args:
        responses: (C, T), the first T values of each channel's filter.
        shown: filters drawn as lines, at most.

    Raises:
        ValueError: when `responses` has no two axes, or is empty.
    """
    h = np.asarray(responses, dtype=float)
    if h.ndim != 2 or not h.size:
        raise ValueError(f"got responses of shape {h.shape}, wanted (channels, steps)")
    memory = _memory(h)
    order = np.argsort(memory, kind="stable")
    picked = order[np.unique(np.linspace(0, len(order) - 1, min(shown, len(order))).round().astype(int))]
    colours = MAGNITUDE(np.linspace(0, 0.85, len(picked)))
    figure, axes = grid_of_axes(1, 3, 4.2, ratios=(1.4, 1.2, 1))
    time, gain, all_channels = axes[0]
    cycles = np.arange(h.shape[1] // 2 + 1) / h.shape[1]
    for row, (i, colour) in enumerate(zip(picked, colours, strict=True)):
        time.plot(row + 0.45 * h[i] / (np.abs(h[i]).max() or 1.0), color=colour, linewidth=1.1)
        time.annotate(f"{memory[i]} steps", (1, row + 0.25), xycoords=("axes fraction", "data"), ha="right", fontsize=9)
        gain.plot(cycles, _gain(h[i]), color=colour, linewidth=1.3)
    time.set(title="Impulse responses", xlabel="Step", ylabel="Channel", ylim=(-0.6, len(picked) - 0.4))
    time.set_yticks(range(len(picked)), [str(i) for i in picked])
    time.set_xlim(0, max(8, min(h.shape[1] - 1, int(1.5 * np.quantile(memory, 0.9)))))
    gain.set(
        title="Gain", xlabel="Frequency (cycles per step)", ylabel="Decibels below peak", xlim=(0, 0.5), ylim=(-60, 3)
    )
    all_channels.plot(np.arange(1, len(order) + 1) / len(order), memory[order], color=INK, linewidth=1.6)
    all_channels.set(title="Memory", xlabel="Share of channels", ylabel="Steps to 90 % of the energy")
    all_channels.set(yscale="log", xlim=(0, 1), ylim=(0.7 * max(1, memory.min()), 1.3 * max(1, memory.max())))
    all_channels.yaxis.set_major_formatter("{x:g}")
    all_channels.yaxis.set_minor_formatter(NullFormatter())
    return figure


@styled
def poles(decay: ArrayLike, angular_frequency: ArrayLike) -> Figure:
    """Draw the poles z = exp(-decay + i angular_frequency) in the complex plane, and their decay over their frequency.

    A mode decays by |z| and turns by arg z in a step; at the unit circle it would never fade. The poles of a real
    filter come in conjugate pairs: the lower ones are drawn faintly, and the frequency is that of the upper one.
    The colour is the memory, as the second picture shows it.

    Args:
        decay: any shape, per step.
        angular_frequency: the same shape, in radians per step.

    Raises:
        ValueError: when the shapes differ, or a decay is not positive.
    """
    d, w = (np.asarray(x, dtype=float) for x in (decay, angular_frequency))
    if d.shape != w.shape:
        raise ValueError(
            f"got decays of shape {d.shape} and frequencies of shape {w.shape}; give one decay per frequency"
        )
    if not (d > 0).all():
        raise ValueError(f"got a decay of {d.min():g}; decays are positive, or the filter never ends")
    d, w = d.ravel(), w.ravel()
    real, imag = np.exp(-d) * np.cos(w), np.abs(np.exp(-d) * np.sin(w))
    steps = np.log10(1 / d)
    figure, axes = grid_of_axes(1, 2, 4.8, ratios=(1, 1.15))
    plane, map_ = axes[0]
    turn = np.linspace(-math.pi, math.pi, 400)
    plane.plot(np.cos(turn), np.sin(turn), color=INK, linewidth=1)
    for radius in (0.25, 0.5, 0.75):
        plane.plot(radius * np.cos(turn), radius * np.sin(turn), color="#D9D9D9", linewidth=0.7)
    dots = {"c": steps, "cmap": MAGNITUDE, "s": 10, "alpha": 0.7, "linewidths": 0}
    plane.scatter(real, imag, **dots)
    plane.scatter(real, -imag, **{**dots, "alpha": 0.2})
    plane.set(
        title="Poles",
        xlabel="Real part",
        ylabel="Imaginary part",
        aspect="equal",
        xlim=(-1.06, 1.06),
        ylim=(-1.06, 1.06),
        xticks=np.arange(-1, 1.5, 0.5),
        yticks=np.arange(-1, 1.5, 0.5),
    )
    map_.scatter(np.arctan2(imag, real) / (2 * math.pi), 1 / d, **dots)
    map_.set(
        title="Memory and frequency",
        xlabel="Frequency (cycles per step)",
        ylabel="Memory, 1 / decay (steps)",
        yscale="log",
    )
    map_.yaxis.set_major_formatter("{x:g}")
    return figure


def _gain(h: np.ndarray) -> np.ndarray:
    """Return the gain in decibels below its peak; the far half is faded out, so that its end makes no ripples."""
    fade = np.cos(np.clip(np.arange(len(h)) / len(h) - 0.5, 0, None) * math.pi) ** 2
    size = rfft(torch.from_numpy(h * fade)).abs().numpy()
    return 20 * np.log10(np.maximum(size / (size.max() or 1.0), 1e-4))


def _memory(h: np.ndarray) -> np.ndarray:
    """Return the number of steps within which each filter has 90 % of its energy; 0 for a filter of zeros."""
    energy = np.cumsum(h**2, axis=1)
    enough = (energy >= 0.9 * energy[:, -1:]).argmax(axis=1) + 1
    return np.where(energy[:, -1] > 0, enough, 0)
