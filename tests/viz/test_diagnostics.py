import numpy as np
import pytest

from undula.viz.diagnostics import harmonic_spectrum, interference_fringes, trajectory
from undula.viz.style import png


def test_spectrum_is_drawn_with_its_peaks_and_series():
    power = np.full(33, 0.1)
    power[[5, 10, 15]] = 100, 10, 1
    figure = harmonic_spectrum(power, [5, 10], (5, 10, 15))
    line, dots, *series = figure.axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), np.arange(1, 33))
    np.testing.assert_allclose(line.get_ydata(), 10 * np.log10(power[1:]))
    np.testing.assert_allclose(dots.get_xydata(), [[5, 20], [10, 10]])
    assert [s.get_xdata()[0] for s in series] == [5, 10, 15]
    assert len(png(figure)) > 10_000


def test_weights_and_their_autocorrelation_are_drawn():
    weights, correlation = np.random.default_rng(0).random((8, 8)), np.array([1, -0.5, 0.25, -0.5, 0.75])
    figure = interference_fringes(weights, correlation, [4])
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), weights)
    line, dots, _ = figure.axes[1].lines
    np.testing.assert_array_equal(line.get_ydata(), correlation)
    np.testing.assert_array_equal(dots.get_xydata(), [[4, 0.75]])


def test_sizes_and_rates_are_drawn():
    size, rate = trajectory([1, 2, 4], [0.5, 0.1], 0.7).axes
    np.testing.assert_array_equal(size.lines[0].get_xydata(), [[0, 1], [1, 2], [2, 4]])
    assert [bar.get_height() for bar in rate.patches] == [0.5, 0.1]
    assert [line.get_ydata()[0] for line in rate.lines] == pytest.approx([0.7, 0.3])


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match=r"power of shape \(2, 2\), wanted \(bins,\)"):
        harmonic_spectrum(np.ones((2, 2)), [])
    with pytest.raises(ValueError, match=r"weights \(2, 3\) and autocorrelation \(4,\)"):
        interference_fringes(np.ones((2, 3)), np.ones(4))
    with pytest.raises(ValueError, match=r"norms \(3,\) and rates \(3,\); wanted \(L \+ 1,\) and \(L,\)"):
        trajectory(np.ones(3), np.ones(3), 0.7)
