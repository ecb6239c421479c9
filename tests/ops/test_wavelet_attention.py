"""The tree on a grid is the tree at every position, seen from time to time; attention over it in blocks is one."""

import numpy as np
import pytest
import torch

from tests.reference import wavelet_attention as reference
from undula.ops.wavelet_attention import BLOCK, rows_at, tree_attention, tree_step
from undula.ops.wavelet_filters import named_filters
from undula.ops.wavelet_tree import causal_tree

LOW = named_filters("db2").synthesis[0]


@pytest.mark.parametrize("steps", [1, 13, 32])
def test_levels_are_the_undecimated_trees(steps):
    x = torch.randn(2, steps, 3, dtype=torch.float64)
    values, nothing = x, torch.zeros(2, 3, 3, dtype=torch.float64)
    for level in range(3):
        smooth, details, _ = causal_tree(x.transpose(1, 2), LOW, level + 1)
        coarse, following = tree_step(values, nothing, LOW, torch.zeros(2, dtype=torch.long))
        ends = list(range(2**level - 1, steps, 2**level))
        torch.testing.assert_close((values - coarse)[:, : len(ends)], details[level].transpose(1, 2)[:, ends])
        torch.testing.assert_close(coarse[:, : len(ends)], smooth.transpose(1, 2)[:, ends])
        values = following


def test_rows_may_be_at_different_positions():
    x = torch.randn(1, 12, 2, dtype=torch.float64)
    _, want = tree_step(x, torch.zeros(1, 3, 2, dtype=torch.float64), LOW, torch.tensor([0]))
    starts = torch.tensor([4, 7])
    rows = torch.cat([x[:, start : start + 4] for start in starts])
    past = torch.cat([x[:, start - 3 : start] for start in starts])
    _, following = tree_step(rows, past, LOW, starts)
    torch.testing.assert_close(following[0], want[0, 2:4])
    torch.testing.assert_close(following[1], want[0, 3:5])


def test_rows_at_takes_from_each_row_its_own():
    x = torch.arange(12.0).reshape(2, 3, 2)
    assert rows_at(x, torch.tensor([[2, 0], [1, 1]])).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def haar_levels(x, levels):
    low, out, values = torch.ones(2, dtype=x.dtype), [x], x
    for _ in range(levels):
        nothing = torch.zeros(len(x), 1, x.shape[2], dtype=x.dtype)
        _, values = tree_step(values, nothing, low, torch.zeros(len(x), dtype=torch.long))
        out.append(values)
    return out


@pytest.mark.parametrize("steps", [BLOCK - 1, BLOCK + 1, 2 * BLOCK + 37])
def test_blocks_see_what_each_query_would_see_alone(steps):
    window, levels = 3, 3
    q = torch.randn(1, steps, 1, 4, dtype=torch.float64)
    x = torch.randn(1, steps, 8, dtype=torch.float64)
    out = tree_attention(q, haar_levels(x, levels), torch.tensor([0]), window, 0)
    tree = reference.smooths(x[0].numpy(), [np.ones(2)] * levels)
    for t in (0, 5, BLOCK - 2, steps - 1):
        ends = [(j, e) for j in range(levels + 1) for e in range(t + 1) if (e + 1) % 2**j == 0]
        seen = np.array([tree[j][e] for j, e in ends if t - e < window * 2**j + (t + 1) % 2**j])
        weights = np.exp(seen[:, :4] @ q[0, t, 0].numpy() / 2)
        np.testing.assert_allclose(out[0, t].numpy(), weights / weights.sum() @ seen[:, 4:], atol=1e-12)


def test_the_reach_is_the_window_times_the_longest_average():
    window, levels, steps = 2, 4, 200
    x = torch.randn(1, steps, 8, dtype=torch.float64, requires_grad=True)
    q = torch.randn(1, steps, 1, 4, dtype=torch.float64)
    out = tree_attention(q, haar_levels(x, levels), torch.tensor([0]), window, 0)
    (gradient,) = torch.autograd.grad(out[0, 159].sum(), x)
    reached = gradient[0].abs().amax(-1).nonzero().flatten()
    assert (reached.min().item(), reached.max().item()) == (160 - window * 2**levels, 159)
