import math

import numpy as np
import pytest
import torch

from tests.reference import synthesis as reference
from undula.ops import synthesis as ops
from undula.ops.overlap import overlap_add

RATE = 8000


def waves(steps=5, harmonics=3, dtype=torch.float64):
    parts = torch.rand(3, steps, harmonics, dtype=torch.float64)
    return tuple(x.to(dtype) for x in (parts[0] * RATE / 2, parts[1], 2 * math.pi * parts[2]))


@pytest.mark.parametrize("hop", [1, 2, 7, 32, 96])
def test_frames_by_definition(hop):
    parts = waves()
    got = ops.sinusoid_frames(*parts, hop, RATE)
    assert got.shape == (5, 2 * hop)
    np.testing.assert_allclose(got.numpy(), reference.sinusoid_frames(*parts, hop, RATE), atol=1e-12)
    batched = ops.sinusoid_frames(*(x.expand(2, 1, 5, 3) for x in parts), hop, RATE)
    torch.testing.assert_close(batched, got.expand(2, 1, 5, 2 * hop), rtol=0, atol=1e-13)


def test_shifted_windows_sum_to_one():
    window = ops.fading_window(10, torch.device("cpu"), torch.float64)
    torch.testing.assert_close(window[:10] + window[10:], torch.ones(10, dtype=torch.float64))


def test_the_sound_has_each_frames_value_and_slope_at_its_instant():
    hop = 64
    f, a, p = waves(steps=6)
    # The same frames seen twenty times as finely, so that a difference is a slope.
    sound = overlap_add(ops.sinusoid_frames(f, a, p, 20 * hop, 20 * RATE), 20 * hop)
    for t in range(6):
        middle = (t + 1) * 20 * hop
        want = (a[t] * p[t].sin()).sum()
        torch.testing.assert_close(sound[middle], want, rtol=0, atol=1e-12)
        slope = (sound[middle + 1] - sound[middle - 1]) * 10 * RATE if t < 5 else None
        if slope is not None:
            exact = (2 * math.pi * f[t] * a[t] * p[t].cos()).sum()
            assert abs(slope - exact) < 0.02 * (2 * math.pi * f[t] * a[t]).sum()


def test_a_steady_tone_comes_out_as_it_is_for_ten_seconds_in_float32():
    hop, steps = 64, 1251
    frequency = torch.tensor(3999.3)
    middles = torch.arange(steps, dtype=torch.float64) * hop / RATE
    exact = frequency.double() * middles
    phases = (2 * math.pi * (exact - exact.round())).float()[:, None]
    frames = ops.sinusoid_frames(frequency.expand(steps, 1), torch.ones(steps, 1), phases, hop, RATE)
    sound = overlap_add(frames, hop)[hop:-hop]
    n = np.arange(len(sound), dtype=np.float64)
    want = np.sin(2 * np.pi * np.fmod(float(frequency) * n / RATE, 1))
    assert len(sound) == 80_000
    assert np.abs(sound.double().numpy() - want).max() < 2e-6


def test_float32_is_exact_to_rounding_for_long_frames_of_high_pitch():
    f, a, p = waves(dtype=torch.float32)
    got = ops.sinusoid_frames(f, a, p, 1000, RATE)
    want = reference.sinusoid_frames(f, a, p, 1000, RATE)
    assert np.abs(got.double().numpy() - want).max() < 2e-6


def test_half_types_are_computed_in_float32():
    parts = waves(dtype=torch.bfloat16)
    got = ops.sinusoid_frames(*parts, 32, RATE)
    want = ops.sinusoid_frames(*(x.float() for x in parts), 32, RATE)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, want.bfloat16(), rtol=0, atol=0)


def test_gradients():
    f, a, p = waves(3, 2)
    parts = ((f / RATE).requires_grad_(), a.requires_grad_(), p.requires_grad_())
    assert torch.autograd.gradcheck(lambda f, a, p: ops.sinusoid_frames(f, a, p, 6, 1), parts)
