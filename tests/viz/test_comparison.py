"""Scores side by side, and shares over steps."""

import pytest

from undula.viz.comparison import ranked_values, shares


def test_rows_are_ranked_by_their_mean():
    figure = ranked_values({"b": [2.0, 2.2], "a": [1.0, 1.5], "nan": [float("nan")]}, "Loss (nats)")
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "nan"]
    assert [text.get_text() for text in ax.texts] == ["1.250", "2.100", "nan"]
    means = [line.get_xdata()[0] for line in ax.lines[::2]]
    assert means[:2] == [1.25, 2.1]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_equal_shares_are_one_line():
    figure = shares({"a": [0.0, 0.5, 1.0], "b": [1.0] * 3, "c": [1.0] * 3, "d": [1.0] * 3}, "Share of packets")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["a", "b and 2 more"]


@pytest.mark.parametrize("values", [{}, {"a": [1.0], "b": []}])
def test_nothing_to_draw_is_an_error(values):
    with pytest.raises(ValueError, match="no values of"):
        ranked_values(values, "Loss")


def test_no_shares_is_an_error():
    with pytest.raises(ValueError, match="no experiment to draw"):
        shares({}, "Share")
