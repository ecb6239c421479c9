"""Weights of source tokens as a picture."""

import numpy as np
import pytest

from undula.viz.alignment import alignment


def test_rows_are_written_tokens_and_columns_are_read_ones():
    weights = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    ax = alignment(weights, ["a", " b", "$c"], ["x", "y\n"]).axes[0]
    assert np.array_equal(ax.images[0].get_array(), weights)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "y↵"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "␣b", "$c"]
    assert ax.images[0].get_clim() == (0.0, 1.0)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_tokens_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"got weights of shape \(2, 3\) for 3 written and 2 read tokens"):
        alignment(np.zeros((2, 3)), ["a", "b"], ["x", "y", "z"])
