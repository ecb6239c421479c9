"""Filters over images: what a bright spot becomes, and how much of each wave passes in which direction."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from undula.viz.style import POWER, grid_of_axes, styled

SIGNED = "RdBu_r"


@styled
def grid_filters(response: ArrayLike, shown: int = 5, cells: int = 49) -> Figure:
    """Draw filters of `grid_filter` in space and in frequency, without their direct path.

    Above: the kernel, which a bright spot in the middle of an empty square image becomes, over its whole width; red is
    positive, blue negative, each on its own scale. Below: the size of the complex response at waves down and across; to
    the left of the middle are those that rise to the other side. The filters drawn are spread evenly over the channels
    in order of the energy of their responses, weakest first.

    Args:
        response: (P, Q, M, M, D), the parameter `response` of a mixer: waves' amplitudes as cosine or sine down, and as
            cosine or sine across, then frequencies in half waves over the side of the image.
        shown: filters drawn, at most.
        cells: points of a kernel along each side.

    Raises:
        ValueError: when the response has other axes, or nothing is to be shown.
    """
    r = np.asarray(response, dtype=float)
    if r.ndim != 5 or r.shape[0] not in (1, 2) or r.shape[2] != r.shape[3] or not r.size:
        raise ValueError(f"got a response of shape {r.shape}, wanted (1 or 2, 1 or 2, modes, modes, channels)")
    if min(shown, cells) < 1:
        raise ValueError(f"shown={shown}, cells={cells}; wanted at least 1 each")
    order = np.argsort((r**2).sum((0, 1, 2, 3)), kind="stable")
    picked = order[np.unique(np.linspace(0, len(order) - 1, min(shown, len(order))).round().astype(int))]
    figure, axes = grid_of_axes(2, len(picked), 2.7)
    modes = r.shape[2]
    for column, channel in enumerate(picked):
        space, frequency = axes[:, column]
        kernel, gain = _kernel(r[..., channel], cells), _gain(r[..., channel])
        most = np.abs(kernel).max() or 1.0
        space.imshow(kernel, cmap=SIGNED, vmin=-most, vmax=most, extent=(-0.5, 0.5, 0.5, -0.5))
        space.set(title=f"Channel {channel}", xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
        whole = (0.5 - modes, modes - 0.5, -0.5, modes - 0.5)
        image = frequency.imshow(gain, cmap=POWER, vmin=0, origin="lower", extent=whole, aspect="auto")
        figure.colorbar(image, ax=frequency, location="bottom", shrink=0.8)
        for ax in (space, frequency):
            ax.grid(visible=False)
    axes[0, 0].set_ylabel("Offset (sides of the image)")
    axes[1, 0].set_ylabel("Half waves down")
    axes[1, len(picked) // 2].set_xlabel("Half waves across")
    return figure


def _kernel(response: np.ndarray, cells: int) -> np.ndarray:
    """The sum of all waves at offsets of -1/2 to 1/2 of the side, for a spot of area 1."""
    offset = (np.arange(cells) - (cells - 1) / 2) / cells
    k = np.arange(response.shape[2])
    angle = np.pi * offset[:, None] * k
    waves = np.stack([np.cos(angle), np.sin(angle)])
    # Once for k = 0, else twice: the amplitudes of a spot among those of its mirror images, four in an area of 4.
    share = np.where(k == 0, 1, 2) / 2
    parts_down, parts_across = response.shape[:2]
    return np.einsum("pqkm,pyk,qxm,k,m->yx", response, waves[:parts_down], waves[:parts_across], share, share)


def _gain(response: np.ndarray) -> np.ndarray:
    """The size of the response at e^(i (k y + m x)) for k = 0 .. M - 1 and m = 1 - M .. M - 1."""
    full = np.zeros((2, 2, *response.shape[2:]))
    full[: response.shape[0], : response.shape[1]] = response
    # sin(k y) is 0 where k is, whatever is learned for it.
    full[1, :, 0], full[:, 1, :, 0] = 0, 0
    (a, c), (b, e) = full
    same, other = np.hypot(a - e, b + c), np.hypot(a + e, b - c)
    return np.concatenate([other[:, :0:-1], same], axis=1)
