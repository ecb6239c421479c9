import dataclasses
import math
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from tests.reference import wave as reference
from undula import Wave, plot_wave_series

PLOTS = ("plot_waveform", "plot_spectrum", "plot_phase_spectrum", "plot_spectrogram", "plot_components")


def a_wave(*lead, harmonics=5, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    f, a, p = (torch.rand(*lead, harmonics, generator=g, dtype=dtype) for _ in range(3))
    return Wave(20 * f + 0.1, a, (2 * p - 1) * math.pi)


def test_representation_is_frequencies_amplitudes_phases_and_back():
    w = a_wave(2, 10)
    x = w.to_representation()
    assert torch.equal(x, torch.cat([w.frequencies, w.amplitudes, w.phases], -1))
    back = Wave.from_representation(x)
    for name in ("frequencies", "amplitudes", "phases"):
        assert torch.equal(getattr(back, name), getattr(w, name))


@pytest.mark.parametrize("width", [1, 95])
def test_a_width_that_is_not_three_parts_is_refused(width):
    with pytest.raises(ValueError, match=f"the last axis of .2, {width}. is not divisible by 3"):
        Wave.from_representation(torch.randn(2, width))


def test_parts_that_do_not_fit_are_refused():
    x = torch.randn(2, 3)
    for bad in ((x, x[:, :2], x), (x, x, x[:1]), (x[0], x, x)):
        with pytest.raises(ValueError, match="give all three the same shape"):
            Wave(*bad)
    with pytest.raises(ValueError, match="give them an axis of harmonics"):
        Wave(*(torch.tensor(1.0),) * 3)
    with pytest.raises(ValueError, match="phases.*int64.*convert them to floating point"):
        Wave(x, x, torch.zeros(2, 3, dtype=torch.long))


@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 5), (2, 3, 4)])
def test_synthesize_by_definition(lead):
    w = a_wave(*lead)
    t = torch.arange(50, dtype=torch.float64) / 100
    np.testing.assert_allclose(
        w.synthesize(t), reference.synthesize(w.frequencies, w.amplitudes, w.phases, t), atol=1e-12
    )


def test_synthesize_of_as_many_positions_as_times_keeps_them_apart():
    w = a_wave(2, 7)
    t = torch.arange(7, dtype=torch.float64) / 7
    torch.testing.assert_close(w.synthesize(t)[:, 3], w[:, 3].synthesize(t))


def test_index_takes_waves_never_harmonics():
    w = a_wave(4, 6)
    assert w[1].shape == (6, 5)
    assert w[..., 2].shape == (4, 5)
    assert w[None, :, 1:3].shape == (1, 4, 2, 5)
    assert torch.equal(w[1, 2].phases, w.phases[1, 2])
    picked = torch.tensor([3, 0])
    assert torch.equal(w[picked].frequencies, w.frequencies[picked])
    assert torch.equal(w[w.frequencies[..., 0] > 10].amplitudes, w.amplitudes[w.frequencies[..., 0] > 10])
    with pytest.raises(IndexError):
        w[0, 0, 0]


def test_to_detach_and_cpu_change_all_three():
    w = Wave(*(x.requires_grad_() for x in (a_wave(2).frequencies, a_wave(2).amplitudes, a_wave(2).phases)))
    for changed in (w.detach(), w.cpu().detach(), w.to(torch.float32).detach()):
        assert not changed.to_representation().requires_grad
    assert w.to(torch.float32).to_representation().dtype == torch.float32
    assert w.to_representation().requires_grad


def test_a_wave_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        a_wave(1).phases = torch.zeros(1, 5)


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_of_a_batch_of_sequences_is_that_of_its_first_wave(name):
    w = a_wave(2, 5)
    many, one = getattr(w, name)(), getattr(w[0, 0], name)()
    assert many.has_data()
    assert many.get_xlabel() in ("Time (s)", "Frequency (Hz)")
    for got, want in zip([*many.lines, *many.collections], [*one.lines, *one.collections], strict=True):
        data = "get_xydata" if hasattr(got, "get_xydata") else "get_segments"
        np.testing.assert_array_equal(getattr(got, data)(), getattr(want, data)())
    for got, want in zip(many.images, one.images, strict=True):
        np.testing.assert_array_equal(got.get_array(), want.get_array())


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_draws_where_it_is_told_and_takes_waves_of_a_graph_in_half_precision(name):
    w = Wave(*(x.to(torch.bfloat16).requires_grad_() for x in (torch.ones(3, 4), torch.ones(3, 4), torch.ones(3, 4))))
    figure, ax = plt.subplots()
    assert getattr(w, name)(ax=ax) is ax
    figure.canvas.draw()


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("value", [0.0, 1e4])
def test_silent_and_enormous_waves_are_drawn(name, value):
    w = Wave(*(torch.full((1, 4), value) for _ in range(3)))
    getattr(w, name)().figure.canvas.draw()


def test_waveform_has_its_samples_at_whole_multiples_of_the_sampling_interval():
    line = a_wave(1).plot_waveform(duration=0.5, sample_rate=200, color="red").lines[0]
    np.testing.assert_allclose(line.get_xdata(), np.arange(100) / 200, rtol=0, atol=1e-15)
    w = a_wave(1)[0]
    want = reference.synthesize(w.frequencies, w.amplitudes, w.phases, np.arange(100) / 200)
    np.testing.assert_allclose(line.get_ydata(), want, atol=1e-12)
    assert line.get_color() == "red"


def test_spectra_have_a_stem_for_each_harmonic_and_phases_within_half_a_turn():
    w = Wave(torch.tensor([5.0, 10.0]), torch.tensor([1.0, 0.5]), torch.tensor([0.5, 2 * math.pi + 1]))
    amplitude, phase = w.plot_spectrum(), w.plot_phase_spectrum()
    np.testing.assert_allclose(amplitude.lines[0].get_xydata(), [[5, 1], [10, 0.5]])
    np.testing.assert_allclose(phase.lines[0].get_xydata(), [[5, 0.5], [10, 1]], atol=1e-6)


def test_spectrogram_is_loudest_at_the_frequency_and_knows_no_edges():
    ax = Wave(torch.tensor([125.0]), torch.tensor([1.0]), torch.tensor([0.3])).plot_spectrogram(
        duration=1.0, sample_rate=1000
    )
    power = np.asarray(ax.images[0].get_array())
    frequencies = np.linspace(0, 500, len(power))
    np.testing.assert_allclose(frequencies[power.argmax(0)], 125, atol=1.1)
    assert np.ptp(power.max(0)) < 0.1


def test_components_are_named_by_frequency_and_add_up_to_the_waveform():
    w = a_wave(1)
    ax = w.plot_components(duration=0.5, sample_rate=100)
    assert ax.get_legend_handles_labels()[1] == [f"{f:.1f} Hz" for f in sorted(w.frequencies[0].tolist())]
    total = sum(line.get_ydata() for line in ax.lines)
    np.testing.assert_allclose(total, w.plot_waveform(duration=0.5, sample_rate=100).lines[0].get_ydata(), atol=1e-12)


def test_components_name_the_strongest_of_many():
    w = Wave(torch.arange(1.0, 31.0), torch.arange(1.0, 31.0), torch.zeros(30))
    ax = w.plot_components()
    assert len(ax.lines) == 30
    assert ax.get_legend_handles_labels()[1] == [f"{f:.1f} Hz" for f in range(23, 31)]


def test_summary_has_the_four_pictures():
    figure, axes = a_wave(2, 5).plot_summary()
    assert axes.shape == (2, 2)
    assert [ax.get_title() for ax in axes.flat] == ["Waveform", "Spectrum", "Phase spectrum", "Components"]
    assert axes[0, 0].figure is figure


def test_series_draws_every_wave_in_every_picture_and_one_name_each():
    waves = [a_wave(1), a_wave(2, 3, seed=1), a_wave(seed=2)]
    figure, axes = plot_wave_series(waves, duration=0.5, sample_rate=100)
    for ax in axes.flat:
        assert ax.get_legend_handles_labels()[1] == ["Wave 1", "Wave 2", "Wave 3"]
    assert len(axes[0, 0].lines) == 3
    assert len(axes[1, 1].lines) == 15
    figure.canvas.draw()
    with pytest.raises(ValueError, match="got 1 labels for 3 waves"):
        plot_wave_series(waves, labels=["a"])


def test_a_duration_of_no_sample_is_refused():
    with pytest.raises(ValueError, match="duration=0.0 s at sample_rate=1000 is no sample"):
        a_wave(1).plot_waveform(duration=0.0)


def test_a_wave_needs_no_matplotlib_before_it_is_drawn():
    code = "import sys, undula.wave; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
