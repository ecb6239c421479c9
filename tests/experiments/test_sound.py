"""The picture of a recording, and the encoder that measures where no codec is given."""

import math

import numpy as np
import pytest
import torch

from tests.data.test_audio import write_wav
from undula.experiments.sound import measuring_encoder, sound_picture
from undula.viz.sound import sound_figure
from undula.wave import Wave


@pytest.mark.parametrize("rate", [100, 8000, 44100])
def test_what_is_measured_is_the_tone(rate):
    f = 0.11 * rate
    x = 0.5 * torch.sin(2 * math.pi * f / rate * torch.arange(2 * rate if rate == 100 else rate // 4))
    with torch.no_grad():
        wave = measuring_encoder(rate)(x[None])[0]
    middle = wave.shape[0] // 2
    loudest = wave.amplitudes[middle].argmax()
    assert abs(wave.frequencies[middle, loudest] - f) < 0.02 * f


@pytest.mark.parametrize("values", [[0.0], [1.0, 1.0, 1.0], [0.0] * 500], ids=["one sample", "clipped", "silent"])
def test_odd_recordings_are_drawn(tmp_path, values):
    figure = sound_picture(write_wav(tmp_path / "a.wav", values))
    assert [ax.get_title(loc="left").split(" (")[0] for ax in figure.axes] == ["Waveform", "Spectrogram", "Partials"]
    figure.canvas.draw()


def test_a_recording_without_a_sample_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no sample; give a recording with sound"):
        sound_picture(write_wav(tmp_path / "a.wav", np.zeros((1, 0))))


def test_partials_are_where_the_wave_says_and_the_difference_is_drawn():
    sound = torch.sin(torch.arange(800) / 10)
    wave = Wave(
        torch.tensor([[100.0, 900.0], [120.0, 900.0]]), torch.tensor([[1.0, 1e-5], [0.5, 0.1]]), torch.zeros(2, 2)
    )
    figure = sound_figure(sound, wave, torch.tensor([0.0, 0.05]), 8000, 0.5 * sound)
    titles = {ax.get_title(loc="left").split(" (")[0]: ax for ax in figure.axes}
    dots = titles["Partials"].collections[0].get_offsets()
    # In the order of loudness; what lies 100 dB below the loudest is left out.
    np.testing.assert_allclose(dots, [[0.05, 900.0], [0.05, 120.0], [0.0, 100.0]], atol=1e-6)
    np.testing.assert_allclose(titles["Difference"].lines[0].get_ydata(), -0.5 * sound.numpy())
