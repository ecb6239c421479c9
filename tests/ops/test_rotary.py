"""Rotary positions against complex multiplication; only differences of positions count."""

import numpy as np
import pytest
import torch

from tests.reference.attention import rotate as definition
from tests.reference.phase_coherent import yarn_rotate
from undula.ops.rotary import rotary_table, rotate, rotate_at

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


@pytest.mark.parametrize(("scale", "trained"), [(4.0, 64), (16.0, 500), (1.0, 512)])
def test_longer_contexts_equal_the_definition(scale, trained):
    x = torch.randn(9, 16, dtype=torch.float64)
    table = rotary_table(700, 9, 16, 10000.0, CPU, torch.float64, scale=scale, trained=trained)
    got = rotate(x[None, None], *table)[0, 0]
    np.testing.assert_allclose(
        got.numpy(), yarn_rotate(x.numpy(), 700 + np.arange(9.0), 10000.0, scale, trained), atol=1e-9
    )


def test_longer_contexts_slow_the_slow_pairs_and_leave_the_fast_ones():
    """The reverse, faster fast pairs and slow ones as they were, is a fault that this would show."""
    plain, longer = (rotary_table(1, 1, 64, 10000.0, CPU, torch.float64, scale=s, trained=512) for s in (1.0, 4.0))
    ratio = (torch.atan2(longer[1], longer[0]) / torch.atan2(plain[1], plain[0]))[0]
    turns = 512 * 10000.0 ** (-torch.arange(0, 64, 2) / 64) / (2 * torch.pi)
    assert (turns > 32).sum() > 2
    assert (turns < 1).sum() > 2
    torch.testing.assert_close(ratio[turns > 32], torch.ones_like(ratio[turns > 32]))
    torch.testing.assert_close(ratio[turns < 1], torch.full_like(ratio[turns < 1], 0.25))
    assert (ratio.diff() <= 1e-12).all()
    size = (longer[0].square() + longer[1].square()).sqrt()
    torch.testing.assert_close(size, torch.full_like(size, 0.1 * np.log(4.0) + 1))


@pytest.mark.parametrize(("scale", "trained"), [(0.5, 512), (2.0, 0)])
def test_a_context_that_is_no_longer_is_refused(scale, trained):
    with pytest.raises(ValueError, match=f"got scale={scale} and trained={trained}; wanted at least 1 each"):
        rotary_table(0, 1, 8, 10000.0, CPU, torch.float64, scale=scale, trained=trained)


def test_rows_at_positions_of_their_own():
    x = torch.randn(2, 3, 2, 6, dtype=torch.float64)
    positions = torch.tensor([[0, 1, 2], [200_000, 200_001, 200_002]])
    got = rotate_at(x, positions, 100.0)
    for row in range(2):
        want = definition(x[row].transpose(0, 1).numpy(), positions[row].numpy(), 100.0)
        np.testing.assert_allclose(got[row].transpose(0, 1).numpy(), want, atol=1e-12)
