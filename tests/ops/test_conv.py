"""Short causal convolution against the sum over taps."""

import numpy as np
import pytest
import torch

from tests.reference.attention import short_conv as definition
from undula.ops.conv import continued_conv, short_causal_conv


@pytest.mark.parametrize("taps", [1, 2, 5, 12])
def test_equals_the_sum_over_taps_and_its_gradients(taps):
    x = torch.randn(2, 3, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, taps, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    got = short_causal_conv(x, weight, bias)
    numbers = (x.detach().numpy().transpose(0, 2, 1), weight.detach().numpy(), bias.detach().numpy())
    np.testing.assert_allclose(got.detach().numpy(), definition(*numbers).transpose(0, 2, 1), atol=1e-12)
    assert torch.autograd.gradcheck(short_causal_conv, (x, weight, bias))


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_what_follows_a_past_is_the_end_of_the_whole(steps):
    x = torch.randn(2, 3, 4 + steps, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(3, 5, dtype=torch.float64, requires_grad=True), torch.randn(3, dtype=torch.float64)
    got = continued_conv(x[..., 4:], x[..., :4], weight, bias)
    torch.testing.assert_close(got, short_causal_conv(x, weight, bias)[..., 4:], atol=1e-12, rtol=0)
    assert torch.autograd.gradcheck(lambda x, w: continued_conv(x[..., 4:], x[..., :4], w, bias), (x, weight))


def test_a_long_piece_is_not_copied_to_meet_its_past():
    x, past = torch.randn(1, 4096, 8).transpose(1, 2), torch.randn(1, 8, 4)
    with torch.profiler.profile(profile_memory=True) as profile:
        continued_conv(x, past, torch.randn(8, 5), torch.randn(8))
    assert sum(max(0, event.self_cpu_memory_usage) for event in profile.events()) < 1.2 * 4 * x.numel()


def test_the_last_tap_is_the_present():
    weight, bias = torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1)
    x = torch.randn(1, 1, 8)
    assert torch.equal(short_causal_conv(x, weight, bias), x)
    delayed = short_causal_conv(x, weight.flip(-1), bias)
    assert torch.equal(delayed, torch.nn.functional.pad(x, (2, 0))[..., :8])


def test_mixed_precision_keeps_the_type_of_the_input():
    x, weight, bias = torch.randn(2, 3, 9), torch.randn(3, 4), torch.randn(3)
    want = short_causal_conv(x, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(short_causal_conv(x, weight, bias), want)
    half = short_causal_conv(x.bfloat16(), weight, bias)
    assert half.dtype is torch.bfloat16
    assert (half.float() - want).square().mean().sqrt() < 0.01 * want.square().mean().sqrt()
