"""A depthwise filter of a few cells on a grid."""

import torch
from torch import nn
from torch.nn import functional as F

from undula.ops.half_waves import Grid
from undula.shapes import Sequence


class GridConv(nn.Module):
    """Filters each channel of a grid with its own taps x taps weights; beyond the borders there are zeros.

    Args:
        channels: number of channels.
        taps: side of the filter, odd.

    Raises:
        ValueError: for an even side, which has no middle.
    """

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        if taps < 1 or taps % 2 == 0:
            raise ValueError(f"short_conv={taps}; wanted an odd number of cells, 1 for the cell alone")
        bound = 1 / taps
        self.taps = taps
        self.weight = nn.Parameter(torch.empty(channels, 1, taps, taps).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Sequence, grid: Grid) -> Sequence:
        """Return the filtered cells, row by row.

        Args:
            x: the cells.
            grid: rows and columns.
        """
        # Channels stay last in memory; only the order of the axes' names changes.
        image = x.unflatten(1, grid).permute(0, 3, 1, 2)
        y = F.conv2d(image, self.weight, self.bias, padding=self.taps // 2, groups=len(self.weight))
        return y.permute(0, 2, 3, 1).flatten(1, 2)
