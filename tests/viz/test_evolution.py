"""The picture of an evolution holds its numbers."""

import numpy as np
import pytest

from undula.viz.evolution import generations
from undula.viz.style import png


def test_the_lines_are_best_and_mean_and_the_band_is_the_spread():
    figure = generations([[2.0, 3.0, None], [1.5, 2.5, 2.0]], 2.2, "Loss (nats)")
    (ax,) = figure.axes
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["best"].get_ydata().tolist() == [2.0, 1.5]
    assert lines["mean ± standard deviation"].get_ydata().tolist() == [2.5, 2.0]
    assert list(lines["incumbent"].get_ydata()) == [2.2, 2.2]
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(3.0)
    assert band[:, 1].min() == pytest.approx(2.0 - np.std([1.5, 2.5, 2.0]))
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in dots] == [2, 3]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Generation", "Loss (nats)")
    assert png(figure)[:4] == b"\x89PNG"


@pytest.mark.parametrize("losses", [[], [[1.0], []], [[None]]])
def test_nothing_to_draw_is_an_error(losses):
    with pytest.raises(ValueError, match="no finite loss in some generation"):
        generations(losses, 1.0, "Loss")
