import math

import numpy as np
import pytest

from undula.viz.filters import impulse_responses, poles
from undula.viz.style import png


def test_memory_is_the_time_to_nine_tenths_of_the_energy():
    steps = np.arange(400)
    decays = [0.5, 0.05, 0.01]
    h = np.stack([np.exp(-d * steps) for d in decays] + [np.zeros(400)])
    figure = impulse_responses(h)
    shares, memory = figure.axes[2].lines[0].get_data()
    # 1 - exp(-2 d n) = 0.9 after n = ln(10) / (2 d) steps.
    want = [math.ceil(math.log(10) / (2 * d)) for d in decays]
    np.testing.assert_allclose(memory, [0, *want], atol=1)
    np.testing.assert_array_equal(shares, [0.25, 0.5, 0.75, 1])
    assert len(png(figure)) > 10_000


def test_gain_peaks_at_the_frequency_of_the_filter():
    h = np.exp(-0.02 * np.arange(512)) * np.cos(2 * math.pi * 0.15 * np.arange(512))
    x, y = impulse_responses(h[None]).axes[1].lines[0].get_data()
    assert x[y.argmax()] == pytest.approx(0.15, abs=1 / 512)
    assert y.max() == 0


def test_at_most_so_many_filters_are_drawn_shortest_and_longest_among_them():
    h = np.stack([np.exp(-np.arange(100) / (i + 1)) for i in range(50)])
    ax = impulse_responses(h, shown=4).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "16", "33", "49"]


def test_poles_lie_at_their_radius_and_angle_with_their_conjugates():
    decay, frequency = np.array([[0.5, 0.1]]), np.array([[1.0, -2.0]])
    plane, memory = poles(decay, frequency).axes
    upper, lower = (np.asarray(c.get_offsets()) @ [1, 1j] for c in plane.collections)
    np.testing.assert_allclose(upper, [np.exp(-0.5 + 1j), np.exp(-0.1 + 2j)])
    np.testing.assert_allclose(lower, upper.conj())
    np.testing.assert_allclose(memory.collections[0].get_offsets(), [[1 / (2 * math.pi), 2], [1 / math.pi, 10]])


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match=r"shape \(4,\), wanted \(channels, steps\)"):
        impulse_responses(np.ones(4))
    with pytest.raises(ValueError, match="give one decay per frequency"):
        poles(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="got a decay of -1; decays are positive"):
        poles(-np.ones(3), np.ones(3))
