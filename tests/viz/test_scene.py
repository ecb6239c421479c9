"""The picture of a model at work."""

import dataclasses

import numpy as np
import pytest
import torch

from undula.viz.scene import Scene, draw_scene
from undula.wave import Wave

WAVE = Wave(torch.rand(3, 4), torch.rand(3, 4) + 0.1, torch.rand(3, 4))
SCENE = Scene(
    before="to be or ",
    token="n",
    recent=["r", " ", "n"],
    wave=WAVE,
    expected=[("o", 0.7), ("$x$", 0.2)],
    weights=np.array([[0.0, 1.0, 4.0], [0.0, 0.0, 0.0]]),
)


def panels(figure):
    return {ax.get_title(loc="left") or ax.get_title(): ax for ax in figure.axes}


def test_panels_show_the_numbers():
    axes = panels(draw_scene(SCENE))
    shares = axes["What each layer listens to"].images[0].get_array()
    np.testing.assert_allclose(shares, [[0, 0.25, 1], [0, 0, 0]])
    assert [bar.get_width() for bar in axes["Expected next"].patches] == [0.7, 0.2]
    points = axes["Phases now"].collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 0], WAVE.phases[-1], rtol=1e-6)
    np.testing.assert_allclose(points[:, 1], WAVE.amplitudes[-1], rtol=1e-6)
    now = axes["Superposition of the waves, token by token"].lines[1]
    assert now.get_xdata().min() == 2.0


def test_a_model_without_waves_says_so():
    axes = panels(draw_scene(dataclasses.replace(SCENE, wave=None)))
    said = [text.get_text() for text in axes["Superposition of the waves, token by token"].texts]
    assert said == ["this model has no waves"]


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"got weights of shape \(2, 2\) for 3 positions"):
        draw_scene(dataclasses.replace(SCENE, weights=np.ones((2, 2))))
