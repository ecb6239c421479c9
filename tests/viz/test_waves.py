import math

import numpy as np
import pytest
import torch

from tests.reference import wave as reference
from undula import Wave
from undula.viz.style import png
from undula.viz.waves import kept_harmonics, passage_spectrogram, spectrum_and_phases, wave_sequence


def a_wave(*lead, harmonics=6):
    f, a, p = (torch.rand(*lead, harmonics, dtype=torch.float64) for _ in range(3))
    return Wave(f / 2, a, (2 * p - 1) * 9)


def images(figure):
    return [np.asarray(image.get_array()) for ax in figure.axes for image in ax.images]


def test_sequence_maps_hold_each_part_sorted_by_mean_frequency():
    wave = a_wave(10)
    order = wave.frequencies.mean(0).argsort()
    frequencies, amplitudes, phases = images(wave_sequence(wave))
    np.testing.assert_array_equal(frequencies, wave.frequencies[:, order].T)
    np.testing.assert_array_equal(amplitudes, wave.amplitudes[:, order].T)
    np.testing.assert_allclose(np.exp(1j * phases), torch.exp(1j * wave.phases[:, order].T), atol=1e-12)
    assert np.abs(phases).max() <= math.pi


def test_kept_harmonics_stand_where_they_are_sorted_and_the_others_are_left_out():
    wave, kept = a_wave(10), torch.rand(10, 6) < 0.5
    order = wave.frequencies.mean(0).argsort()
    figure = kept_harmonics(wave, kept.numpy(), list("abcdefghij"))
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(~shown.mask, kept[:, order].T)
    np.testing.assert_array_equal(shown.data[~shown.mask], wave.amplitudes[:, order].T[~shown.mask])
    assert f"{kept.float().mean():.0%}" in figure.axes[0].get_title(loc="left") + figure.axes[0].get_title()
    with pytest.raises(ValueError, match="choices of shape"):
        kept_harmonics(wave, kept.numpy()[:, :5])


def test_pi_and_minus_pi_have_one_colour():
    image = wave_sequence(a_wave(3)).axes[2].images[0]
    np.testing.assert_allclose(image.cmap(0), image.cmap(image.cmap.N - 1), atol=0.02)
    assert image.get_clim() == (-math.pi, math.pi)


@pytest.mark.parametrize("draw", [wave_sequence, passage_spectrogram])
def test_tokens_stand_under_their_positions(draw):
    tokens = ["a", " ", "\n", "$", "$x", "語", "\x00", "b", "c", "d"]
    figure = draw(a_wave(2, 10).to(torch.bfloat16), tokens)
    ax = next(ax for ax in figure.axes if ax.get_xlabel() == "Token")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "␣", "↵", "$", "$x", "·", "·", "b", "c", "d"]
    assert len(png(figure)) > 10_000
    with pytest.raises(ValueError, match="got 2 tokens for 10 waves"):
        draw(a_wave(10), ["a", "b"])
    with pytest.raises(ValueError, match="give a sequence of waves"):
        draw(a_wave(), None)


def test_many_tokens_are_written_one_in_several():
    figure = wave_sequence(a_wave(500), ["word"] * 500)
    ax = figure.axes[2]
    assert 10 < len(ax.get_xticks()) <= 30
    assert "one in" in ax.get_xlabel()


def test_spectrum_shows_means_and_agreement_of_phases():
    f, a = torch.rand(5), torch.rand(5)
    p = torch.tensor([[0.5, 3.0, 0.0, -math.pi, 1.0], [0.5, -3.0, math.pi, math.pi, 1.0]])
    figure = spectrum_and_phases(Wave(f.expand(2, 5), a.expand(2, 5), p))
    left, right = figure.axes
    np.testing.assert_allclose(left.collections[-1].get_offsets(), torch.stack([f, a], 1), rtol=1e-6)
    angle, length = np.asarray(right.collections[0].get_offsets()).T
    np.testing.assert_allclose(length, [1, -math.cos(3), 0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(np.cos(angle)[[0, 1, 3, 4]], [math.cos(0.5), -1, -1, math.cos(1)], atol=1e-6)
    assert left.get_xlabel() == "Frequency (cycles per token)"
    assert spectrum_and_phases(a_wave(3), unit="Hz").axes[0].get_xlabel() == "Frequency (Hz)"


def test_passage_sounds_as_its_waves_in_turn():
    wave = a_wave(7, harmonics=3)
    line = passage_spectrogram(wave).axes[0].lines[0]
    rate = round(1 / np.diff(line.get_xdata())[0])
    # The first wave is held for 8 steps before the passage.
    extended = [
        np.concatenate([x[:1].numpy().repeat(8, 0), x]) for x in (wave.frequencies, wave.amplitudes, wave.phases)
    ]
    want = reference.synthesize_sequence(*extended, rate, rate)[8 * rate :]
    np.testing.assert_allclose(line.get_ydata(), want, atol=1e-8)
    assert line.get_xdata()[-1] == pytest.approx(7 - 1 / rate)


def test_passage_spectrogram_finds_the_tone_of_each_half():
    frequencies = torch.tensor([0.125] * 40 + [0.375] * 40)[:, None]
    figure = passage_spectrogram(Wave(frequencies, torch.ones(80, 1), torch.zeros(80, 1)))
    image = figure.axes[1].images[0]
    power, top = np.asarray(image.get_array()), image.get_extent()[3]
    loudest = np.linspace(0, top, len(power))[power.argmax(0)]
    middle = len(loudest) // 2
    np.testing.assert_allclose(loudest[: middle - 40], 0.125, atol=0.04)
    np.testing.assert_allclose(loudest[middle + 40 :], 0.375, atol=0.04)
    assert figure.axes[1].get_ylim()[1] == pytest.approx(1.25 * 0.375)


@pytest.mark.parametrize("highest", [0.0, 0.01, 30.0])
def test_any_frequency_and_a_single_wave_are_drawn(highest):
    wave = Wave(torch.full((1, 2), highest), torch.ones(1, 2), torch.zeros(1, 2))
    for figure in (wave_sequence(wave), spectrum_and_phases(wave), passage_spectrogram(wave)):
        assert len(png(figure, 200)) > 2_000
