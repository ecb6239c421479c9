"""The local filter of a grid: neighbours in two directions, and none around the corner."""

import numpy as np
import pytest
import torch

from tests.reference import half_waves as reference
from undula.nn.grid_conv import GridConv


@pytest.mark.parametrize("taps", [1, 3, 5])
@pytest.mark.parametrize("grid", [(4, 5), (1, 6), (3, 1)])
def test_by_definition(grid, taps):
    built = GridConv(3, taps).double()
    torch.nn.init.normal_(built.bias)
    x = torch.randn(2, grid[0] * grid[1], 3, dtype=torch.float64)
    got = built(x, grid)
    for row in range(2):
        want = reference.local(
            x[row].view(*grid, 3).numpy(), built.weight.detach().numpy(), built.bias.detach().numpy()
        )
        np.testing.assert_allclose(got[row].view(*grid, 3).detach().numpy(), want, atol=1e-13)


def test_the_end_of_a_row_is_no_neighbour_of_the_next_one():
    built = GridConv(1, 3)
    torch.nn.init.ones_(built.weight)
    x = torch.zeros(1, 16, 1)
    x[0, 7] = 1
    assert built(x, (4, 4)).view(4, 4).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize("taps", [0, 2, -1])
def test_a_filter_has_a_middle(taps):
    with pytest.raises(ValueError, match=f"short_conv={taps}; wanted an odd number of cells"):
        GridConv(3, taps)
