"""Wave: a signal as a sum of sinusoids, given by their frequencies, amplitudes and phases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Self

import numpy as np
import torch
from torch import Tensor

from undula.ops.phase import wrap_phase
from undula.ops.stft import log_spectrogram
from undula.ops.wave import synthesize
from undula.optional import late_import

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED_COMPONENTS = 8
"""A plot of single harmonics colours and names the strongest of them; more names would hide the lines."""


@dataclass(frozen=True, eq=False)
class Wave:
    """Signals s(t) = sum_h A_h sin(2 pi f_h t + phi_h), one for each index of the leading axes.

    The plots draw one signal: the first along every leading axis (of a batch of sequences, position 0 of sample 0);
    index the wave to draw another one, `wave[0, 5].plot_spectrum()`. They return matplotlib Axes to draw on further.

    Args:
        frequencies: (..., num_harmonics), in Hz.
        amplitudes: (..., num_harmonics).
        phases: (..., num_harmonics), in radians.

    Raises:
        ValueError: when the three shapes differ, have no axis, or hold anything but floating-point numbers.

    Source: Wave Transformer core documentation, section 1.
    """

    frequencies: Tensor
    amplitudes: Tensor
    phases: Tensor

    def __post_init__(self) -> None:
        parts = {"frequencies": self.frequencies, "amplitudes": self.amplitudes, "phases": self.phases}
        shapes = {name: tuple(x.shape) for name, x in parts.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(
                f"the parts of a Wave have shapes {shapes}; give all three the same shape (..., num_harmonics)"
            )
        if self.frequencies.ndim == 0:
            raise ValueError(
                "the parts of a Wave are single numbers; give them an axis of harmonics, for example x[None]"
            )
        kinds = {name: x.dtype for name, x in parts.items() if not x.is_floating_point()}
        if kinds:
            raise ValueError(f"the parts of a Wave hold {kinds}; convert them to floating point, for example x.float()")

    @property
    def shape(self) -> torch.Size:
        """The shape of each part, (..., num_harmonics)."""
        return self.frequencies.shape

    def to_representation(self) -> Tensor:
        """Return the wave as one tensor (..., 3 num_harmonics): frequencies, then amplitudes, then phases."""
        return torch.cat([self.frequencies, self.amplitudes, self.phases], dim=-1)

    @classmethod
    def from_representation(cls, x: Tensor) -> Self:
        """Return the wave whose representation is `x`: the inverse of `to_representation`.

        Args:
            x: (..., 3 num_harmonics).

        Raises:
            ValueError: when the last axis is not divisible by 3.
        """
        if x.ndim == 0 or x.shape[-1] % 3:
            raise ValueError(f"the last axis of {tuple(x.shape)} is not divisible by 3; wanted (..., 3 num_harmonics)")
        return cls(*x.chunk(3, dim=-1))

    def synthesize(self, t: Tensor) -> Tensor:
        """Return the samples (..., T) of each signal at the times `t`, differentiable in all three parts.

        s(t) = sum_h A_h sin(2 pi f_h t + phi_h), with angles reduced in float64: exact to rounding at audio frequencies
        in float32 too. Memory does not grow with T beyond the result.

        Args:
            t: (T,), times in seconds.
        """
        return synthesize(self.frequencies, self.amplitudes, self.phases, t)

    def to(self, *args: Any) -> Self:
        """Return the wave with its tensors moved or converted, as `Tensor.to` does."""
        return self._each(lambda x: x.to(*args))

    def detach(self) -> Self:
        """Return the wave cut off from the graph that computed it."""
        return self._each(Tensor.detach)

    def cpu(self) -> Self:
        """Return the wave in the memory of the processor."""
        return self._each(Tensor.cpu)

    def __getitem__(self, index: Any) -> Self:
        """Return the waves at an index of the leading axes; the axis of harmonics is always kept whole."""
        index = index if isinstance(index, tuple) else (index,)
        index = index if Ellipsis in [i for i in index if not isinstance(i, Tensor)] else (*index, Ellipsis)
        return self._each(lambda x: x[(*index, slice(None))])

    def plot_waveform(
        self, duration: float = 1.0, sample_rate: int = 1000, ax: Optional["Axes"] = None, **kwargs: Any
    ) -> "Axes":
        """Draw the signal over time.

        Args:
            duration: in seconds.
            sample_rate: samples per second; sample n is at n / sample_rate.
            ax: where to draw; None: a new figure.
            kwargs: passed on to `Axes.plot`.
        """
        t, signal = _first(self)._samples(duration, sample_rate)
        ax = _axes(ax)
        ax.plot(t, signal, **{"linewidth": 1.2, **kwargs})
        ax.set(xlabel="Time (s)", ylabel="Amplitude", title="Waveform")
        ax.margins(x=0)
        return _finished(ax)

    def plot_spectrum(self, ax: Optional["Axes"] = None, **kwargs: Any) -> "Axes":
        """Draw the amplitude of each harmonic over its frequency, as stems; kwargs go to `Axes.stem`."""
        frequencies, amplitudes, _ = _first(self)._numbers()
        ax = _axes(ax)
        ax.stem(frequencies, amplitudes, **{"basefmt": " ", **kwargs})
        ax.set(xlabel="Frequency (Hz)", ylabel="Amplitude", title="Spectrum")
        return _finished(ax)

    def plot_phase_spectrum(self, ax: Optional["Axes"] = None, **kwargs: Any) -> "Axes":
        """Draw the phase of each harmonic, within half a turn of 0, over its frequency; kwargs go to `Axes.stem`."""
        frequencies, _, phases = _first(self)._numbers()
        ax = _axes(ax)
        ax.stem(frequencies, phases, **{"basefmt": " ", **kwargs})
        ax.set(xlabel="Frequency (Hz)", ylabel="Phase (rad)", title="Phase spectrum")
        _angle_ticks(ax)
        return _finished(ax)

    def plot_spectrogram(
        self, duration: float = 1.0, sample_rate: int = 1000, ax: Optional["Axes"] = None, **kwargs: Any
    ) -> "Axes":
        """Draw the power of the signal over time and frequency, in decibels below the greatest.

        Args:
            duration: in seconds.
            sample_rate: samples per second; frequencies up to twice the highest, or half the rate, are shown.
            ax: where to draw; None: a new figure.
            kwargs: passed on to `Axes.imshow`.
        """
        one = _first(self)
        n_fft = max(2, min(1024, 2 * (round(duration * sample_rate) // 4)))
        _, signal = one._samples(duration + n_fft / sample_rate, sample_rate, start=-n_fft / 2 / sample_rate)
        decibels = log_spectrogram(torch.from_numpy(signal), n_fft, max(1, n_fft // 16)).T.numpy()
        ax = _axes(ax)
        extent = (0, duration, 0, sample_rate / 2)
        drawn = {"origin": "lower", "aspect": "auto", "extent": extent, "cmap": "magma", "interpolation": "bilinear"}
        picture = ax.imshow(decibels, **{**drawn, **kwargs})
        ax.figure.colorbar(picture, ax=ax, label="Power (dB below peak)")
        highest = float(np.abs(one._numbers()[0]).max(initial=0))
        ax.set_ylim(0, min(sample_rate / 2, max(2 * highest, 8 * sample_rate / n_fft)))
        ax.set(xlabel="Time (s)", ylabel="Frequency (Hz)", title="Spectrogram")
        return ax

    def plot_components(self, duration: float = 1.0, sample_rate: int = 1000, ax: Optional["Axes"] = None) -> "Axes":
        """Draw each harmonic as a line of its own, named by its frequency.

        Args:
            duration: in seconds.
            sample_rate: samples per second.
            ax: where to draw; None: a new figure.
        """
        one, ax = _first(self), _axes(ax)
        lines = Wave(*(x[:, None] for x in (one.frequencies, one.amplitudes, one.phases)))
        t, signals = lines._samples(duration, sample_rate)
        frequencies, amplitudes, _ = one._numbers()
        weakest_first = np.argsort(np.abs(amplitudes), kind="stable")
        named = sorted(weakest_first[-NAMED_COMPONENTS:], key=lambda i: frequencies[i])
        for i in weakest_first[:-NAMED_COMPONENTS]:
            ax.plot(t, signals[i], linewidth=0.6, color="0.75")
        for i in named:
            ax.plot(t, signals[i], linewidth=1.1, alpha=0.9, label=f"{frequencies[i]:.1f} Hz")
        ax.set(xlabel="Time (s)", ylabel="Amplitude", title="Components")
        ax.margins(x=0)
        _legend(ax, columns=2)
        return _finished(ax)

    def plot_summary(self, duration: float = 1.0, sample_rate: int = 1000) -> tuple["Figure", np.ndarray]:
        """Draw waveform, spectrum, phase spectrum and components, and return the figure and its 2 x 2 axes.

        Args:
            duration: in seconds.
            sample_rate: samples per second.
        """
        figure, axes = late_import("matplotlib.pyplot").subplots(2, 2, figsize=(12, 8), layout="constrained")
        self.plot_waveform(duration, sample_rate, axes[0, 0])
        self.plot_spectrum(axes[0, 1])
        self.plot_phase_spectrum(axes[1, 0])
        self.plot_components(duration, sample_rate, axes[1, 1])
        return figure, axes

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(change(self.frequencies), change(self.amplitudes), change(self.phases))

    def _samples(self, duration: float, sample_rate: int, start: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Return the times start + n / sample_rate, for as long as `duration`, and the signal at them."""
        count = round(duration * sample_rate)
        if count < 1:
            raise ValueError(
                f"duration={duration} s at sample_rate={sample_rate} is no sample; make one of them greater"
            )
        t = start + torch.arange(count, dtype=torch.float64) / sample_rate
        return t.numpy(), self.detach().cpu().to(torch.float64).synthesize(t).numpy()

    def _numbers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        plain = self.detach().cpu().to(torch.float64)
        return plain.frequencies.numpy(), plain.amplitudes.numpy(), wrap_phase(plain.phases).numpy()


def parts_of(wave_repr: Tensor, num_harmonics: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return frequencies, amplitudes and phases of a representation (..., 3 H), as views.

    Raises:
        ValueError: when it is not 3 num_harmonics wide.
    """
    if wave_repr.shape[-1] != 3 * num_harmonics:
        raise ValueError(
            f"the representation is {wave_repr.shape[-1]} wide, wanted 3 x num_harmonics={3 * num_harmonics}"
        )
    frequencies, amplitudes, phases = wave_repr.chunk(3, dim=-1)
    return frequencies, amplitudes, phases


def plot_wave_series(
    waves: Sequence[Wave], duration: float = 1.0, sample_rate: int = 1000, labels: Sequence[str] | None = None
) -> tuple["Figure", np.ndarray]:
    """Draw several waves over one another and return the figure and its 2 x 2 axes.

    These are signals, spectra, phases and components, of the first signal along every leading axis of each wave.

    Args:
        waves: what to compare.
        duration: in seconds.
        sample_rate: samples per second.
        labels: a name for each wave; None: "Wave 1", "Wave 2", ...

    Raises:
        ValueError: when there is not one label for each wave.
    """
    labels = [f"Wave {i + 1}" for i in range(len(waves))] if labels is None else labels
    if len(labels) != len(waves):
        raise ValueError(f"got {len(labels)} labels for {len(waves)} waves; give one for each")
    figure, axes = late_import("matplotlib.pyplot").subplots(2, 2, figsize=(12, 8), layout="constrained")
    for i, (wave, label) in enumerate(zip(waves, labels, strict=True)):
        colour = f"C{i % 10}"
        wave.plot_waveform(duration, sample_rate, axes[0, 0], color=colour, alpha=0.8, label=label)
        wave.plot_spectrum(axes[0, 1], linefmt=f"{colour}-", markerfmt=f"{colour}o", label=label)
        frequencies, _, phases = _first(wave)._numbers()
        axes[1, 0].scatter(frequencies, phases, color=colour, s=24, alpha=0.8, label=label)
        before = len(axes[1, 1].lines)
        wave.plot_components(duration, sample_rate, axes[1, 1])
        for k, line in enumerate(axes[1, 1].lines[before:]):
            line.set(color=colour, alpha=0.4, label=label if k == 0 else None)
    axes[1, 0].set(xlabel="Frequency (Hz)", ylabel="Phase (rad)", title="Phases")
    _angle_ticks(axes[1, 0])
    _finished(axes[1, 0])
    for ax in axes.flat:
        _legend(ax)
    return figure, axes


def _first(wave: Wave) -> Wave:
    """Return the first wave along every leading axis, of shape (num_harmonics,)."""
    return wave[(0,) * (len(wave.shape) - 1)]


def _axes(ax: Optional["Axes"]) -> "Axes":
    return late_import("matplotlib.pyplot").subplots(layout="constrained")[1] if ax is None else ax


def _angle_ticks(ax: "Axes") -> None:
    ax.set_yticks(np.pi * np.array([-1, -0.5, 0, 0.5, 1]), ["-π", "-π/2", "0", "π/2", "π"])
    ax.set_ylim(-1.1 * np.pi, 1.1 * np.pi)


def _legend(ax: "Axes", columns: int = 1) -> None:
    if ax.get_legend_handles_labels()[1]:
        ax.legend(fontsize="small", framealpha=0.8, loc="upper right", ncols=columns)


def _finished(ax: "Axes") -> "Axes":
    ax.grid(visible=True, alpha=0.25)
    return ax
