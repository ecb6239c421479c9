import struct

import matplotlib as mpl
import pytest

from undula.viz.style import angle_axis, grid_of_axes, mark_tokens, png, styled, visible


@pytest.mark.parametrize("width", [600, 1000])
def test_png_is_as_wide_as_asked_and_the_same_each_time(width):
    figure, _ = grid_of_axes(1, 2)
    image = png(figure, width)
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", image[16:20]) == (width,)
    assert png(figure, width) == image


def test_style_is_that_of_the_module_inside_and_the_users_outside():
    with mpl.rc_context({"font.size": 5, "axes.grid": False}):
        assert styled(lambda: (mpl.rcParams["font.size"], mpl.rcParams["axes.grid"]))() == (11, True)
        assert (mpl.rcParams["font.size"], mpl.rcParams["axes.grid"]) == (5, False)


def test_what_cannot_be_seen_is_shown_as_a_symbol():
    assert visible(" a\tb\nc\x07é語") == "␣a⇥b↵c·é·"


def test_angles_are_marked_in_parts_of_pi():
    _, axes = grid_of_axes(1)
    angle_axis(axes[0, 0], vertical=False)
    assert [t.get_text() for t in axes[0, 0].get_xticklabels()] == ["-π", "-π/2", "0", "π/2", "π"]


def test_without_tokens_positions_are_counted():
    _, axes = grid_of_axes(1)
    mark_tokens(axes[0, 0], None, range(5))
    assert axes[0, 0].get_xlabel() == "Position (tokens)"
