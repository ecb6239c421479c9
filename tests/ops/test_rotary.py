"""Rotary positions against complex multiplication; only differences of positions count."""

import numpy as np
import pytest
import torch

from tests.reference.attention import rotate as definition
from undula.ops.rotary import rotary_table, rotate

CPU = torch.device("cpu")


@pytest.mark.parametrize("first", [0, 5, 200_000])
def test_equals_the_definition(first):
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    got = rotate(x, *rotary_table(first, 9, 8, 10000.0, CPU, torch.float64))
    np.testing.assert_allclose(got.numpy(), definition(x.numpy(), first + np.arange(9.0), 10000.0), atol=1e-9)


def test_scores_depend_on_the_distance_alone():
    q, k = (torch.randn(1, 1, 1, 8, dtype=torch.float64) for _ in range(2))

    def score(i, j):
        tables = [rotary_table(p, 1, 8, 100.0, CPU, torch.float64) for p in (i, j)]
        return (rotate(q, *tables[0]) * rotate(k, *tables[1])).sum().item()

    assert score(7, 3) == pytest.approx(score(104, 100), abs=1e-12)
    assert abs(score(7, 3) - score(7, 4)) > 1e-3


def test_far_positions_are_as_exact_as_near_ones_in_single_precision():
    cos, sin = rotary_table(1_000_000, 50, 64, 10000.0, CPU, torch.float32)
    angle = np.arange(1_000_000, 1_000_050)[:, None] * 10000.0 ** (-np.arange(0, 64, 2) / 64)
    assert cos.dtype is torch.float32
    np.testing.assert_allclose(cos.numpy(), np.cos(angle), atol=1e-6)
    np.testing.assert_allclose(sin.numpy(), np.sin(angle), atol=1e-6)


def test_the_length_of_a_vector_does_not_change():
    x = torch.randn(1, 2, 30, 16, dtype=torch.float64)
    turned = rotate(x, *rotary_table(3, 30, 16, 50.0, CPU, torch.float64))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-12, rtol=0)
