import numpy as np
import pytest

from tests.reference import half_waves as reference
from undula.viz.grid_filters import grid_filters
from undula.viz.style import png


def drawn(figure):
    """Kernels and gains, filter by filter."""
    images = [ax.images[0].get_array().data for ax in figure.axes if ax.images and "bar" not in ax.get_label()]
    return list(zip(images[: len(images) // 2], images[len(images) // 2 :], strict=True))


@pytest.mark.parametrize("parts", [1, 2])
def test_pictures_are_the_kernel_of_the_definition_and_the_size_of_its_transform(parts):
    response = np.random.default_rng(0).standard_normal((parts, parts, 3, 3, 4))
    figure = grid_filters(response, shown=4, cells=15)
    order = np.argsort((response**2).sum((0, 1, 2, 3)))
    assert [ax.get_title(loc="left") for ax in figure.axes[:4]] == [f"Channel {i}" for i in order]
    at = np.arange(-7, 8)
    for channel, (kernel, gain) in zip(order, drawn(figure), strict=True):
        table = reference.kernel(response[..., channel], lambda down, across: 1, 15, 15, 3)
        # For a spot of one cell out of 15 x 15.
        np.testing.assert_allclose(kernel, 225 * table[at[:, None], at], atol=1e-12)
        spectrum = np.abs(np.fft.fft2(table))
        np.testing.assert_allclose(gain, spectrum[np.arange(3)[:, None], np.arange(-2, 3)], atol=1e-12)
        assert np.allclose(gain, gain[:, ::-1]) == (parts == 1)
    assert len(png(figure)) > 10_000


def test_at_most_so_many_filters_are_drawn_weakest_and_strongest_among_them():
    response = np.ones((1, 1, 2, 2, 30)) * np.arange(30)
    figure = grid_filters(response, shown=3)
    assert [ax.get_title(loc="left") for ax in figure.axes[:3]] == ["Channel 0", "Channel 14", "Channel 29"]


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match=r"a response of shape \(4, 4\), wanted \(1 or 2, 1 or 2, modes, modes, chan"):
        grid_filters(np.ones((4, 4)))
    with pytest.raises(ValueError, match="shown=0, cells=49; wanted at least 1 each"):
        grid_filters(np.ones((1, 1, 2, 2, 3)), shown=0)
