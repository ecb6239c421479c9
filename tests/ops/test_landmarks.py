"""Landmarks: by definition, without loss in their band, untouched by padding."""

import math

import numpy as np
import pytest
import torch

from tests.reference import landmarks as reference
from undula.ops.landmarks import spectral_landmarks

ROWS = {
    "whole": [1] * 13,
    "right": [1] * 9 + [0] * 4,
    "left": [0] * 6 + [1] * 7,
    "holes": [1, 0, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 0],
}


@pytest.mark.parametrize("count", [1, 4, 5, 8, 12, 13, 20])
def test_by_definition_whatever_is_padding(count):
    x, real = torch.randn(4, 13, 3, dtype=torch.float64), torch.tensor(list(ROWS.values()), dtype=torch.bool)
    x[~real] = torch.nan
    points, there, at, places = spectral_landmarks(x, real, count)
    for b in range(4):
        want, order, position = reference.landmarks(x[b].numpy(), real[b].numpy(), count)
        np.testing.assert_allclose(points[b][there[b]].numpy(), want, atol=1e-12)
        np.testing.assert_allclose(at[b][there[b]].numpy(), order, atol=1e-12)
        np.testing.assert_allclose(places[b][real[b]].numpy(), position, atol=1e-12)
    assert torch.isfinite(points).all()


@pytest.mark.parametrize("length", [40, 41, 200])
def test_a_slow_wave_is_sampled_exactly(length):
    def wave(t):
        return torch.stack([torch.cos(math.pi * 3 * t), 2 - torch.cos(math.pi * 7 * t)], dim=-1)

    r = (torch.arange(length, dtype=torch.float64) + 0.5) / length
    points, there, *_ = spectral_landmarks(wave(r)[None], torch.ones(1, length, dtype=torch.bool), 8)
    assert there.all()
    assert (points[0] - wave((torch.arange(8, dtype=torch.float64) + 0.5) / 8)).abs().max() < 1e-12


def test_a_fast_wave_leaves_no_trace():
    r = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    fast = torch.cos(math.pi * 20 * r)[None, :, None]
    assert spectral_landmarks(fast, torch.ones(1, 64, dtype=torch.bool), 16)[0].abs().max() < 1e-12


def test_a_row_of_padding_alone_gives_zeros():
    real = torch.tensor([[True] * 6, [False] * 6])
    for count in (3, 6):
        points, there, *rest = spectral_landmarks(torch.randn(2, 6, 2), real, count)
        assert not there[1].any()
        assert (points[1] == 0).all()
        assert all(torch.isfinite(part).all() for part in rest)
