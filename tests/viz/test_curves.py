import numpy as np
import pytest
from matplotlib.figure import Figure

from undula.viz.curves import Learning, learning_curves
from undula.viz.style import png


def curve(end, steps=200):
    s = np.arange(0, 10 * steps, 10)
    return s, end + 5 * np.exp(-s / 100)


def mean_line(ax, i=0):
    return [line for line in ax.lines if line.get_label()[0] != "_"][i].get_xydata().T


def test_held_out_line_is_the_mean_of_seeds_and_the_band_reaches_from_least_to_greatest():
    runs = [Learning(label="a", held_out=[curve(2.0, 20), curve(2.2, 20), curve(2.1, 20)])]
    figure = learning_curves(runs)
    ax = figure.axes[0]
    steps, values = mean_line(ax)
    np.testing.assert_allclose(values, curve(2.1, 20)[1])
    np.testing.assert_array_equal(steps, np.arange(0, 200, 10))
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(7.2)
    assert band.min() == pytest.approx(2.0 + 5 * np.exp(-1.9))
    assert ax.get_legend_handles_labels()[1] == [f"a: {2.1 + 5 * np.exp(-1.9):.3f}, 3 seeds"]


def test_training_is_drawn_raw_and_smoothed_and_a_constant_stays_one():
    noisy = (np.arange(400), 3 + np.where(np.arange(400) % 2, 0.5, -0.5))
    ax = learning_curves([Learning(label="a", train=[noisy])]).axes[0]
    raw, smooth = (line.get_ydata() for line in ax.lines)
    np.testing.assert_array_equal(raw, noisy[1])
    assert np.abs(smooth - 3).max() < 0.08
    flat = learning_curves([Learning(label="a", train=[(np.arange(400), np.full(400, 3.0))])]).axes[0]
    np.testing.assert_allclose(flat.lines[1].get_ydata(), 3, rtol=1e-14)


def test_the_whole_end_is_seen_and_both_axes_agree():
    figure = learning_curves([Learning(label="a", train=[curve(2.0)], held_out=[curve(2.5, 20)])])
    left, right = figure.axes
    assert left.get_ylim() == right.get_ylim()
    low, high = left.get_ylim()
    assert low < 2.0
    assert high < 7.5
    assert left.get_title(loc="left") == "Training batches (smoothed)"
    assert left.get_ylabel() == "Bits per byte"


def test_runs_keep_their_colour_in_both_pictures_and_seeds_may_differ_in_their_steps():
    runs = [
        Learning(label="a", held_out=[curve(2.0, 20)]),
        Learning(label="b", train=[curve(2.5)], held_out=[curve(2.5, 20), curve(2.6, 10)]),
    ]
    left, right = learning_curves(runs, quantity="Nats per character").axes
    assert left.lines[-1].get_color() == right.lines[-1].get_color() != right.lines[0].get_color()
    steps, values = mean_line(right, 1)
    # Beyond the shorter seed's end the mean is the longer one's value.
    np.testing.assert_allclose(values[steps > 90], curve(2.5, 20)[1][10:])


def test_values_that_are_not_finite_are_left_out():
    steps, values = curve(2.0, 20)
    values[7] = np.nan
    figure = learning_curves([Learning(label="a", train=[(steps, values)], held_out=[(steps, np.full(20, np.nan))])])
    assert np.isfinite(figure.axes[0].get_ylim()).all()
    assert figure.axes[1].get_legend_handles_labels()[1] == ["a: nothing finite"]
    assert len(png(figure)) > 10_000


def test_curves_without_a_value_for_each_step_are_refused():
    with pytest.raises(ValueError, match="no run has a curve"):
        learning_curves([Learning(label="a")])
    with pytest.raises(ValueError, match="a curve of 'a' has 3 steps and 2 values"):
        learning_curves([Learning(label="a", train=[([1, 2, 3], [1, 2])])])


def test_figure_belongs_to_nobody():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    assert type(learning_curves([Learning(label="a", train=[curve(2.0)])])) is Figure
    assert plt.get_fignums() == before
