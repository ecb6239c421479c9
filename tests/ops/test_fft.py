"""Transforms and causal convolution against sums, and against numpy and scipy."""

import numpy as np
import pytest
import scipy.fft
import torch

from tests.reference.convolution import causal_conv as definition
from undula.ops.fft import causal_conv, cyclic_conv, fast_length, irfft, rfft, two_sided_conv


@pytest.mark.parametrize("steps", [1, 2, 3, 16, 37])
def test_causal_convolution_equals_the_sum(steps):
    u, h = torch.randn(2, 3, steps, dtype=torch.float64), torch.randn(3, steps, dtype=torch.float64)
    np.testing.assert_allclose(causal_conv(u, h).numpy(), definition(u.numpy(), h.numpy()), atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 13])
def test_causal_convolution_has_the_gradients_of_the_sum(steps):
    u = torch.randn(2, 3, steps, dtype=torch.float64, requires_grad=True)
    h = torch.randn(3, steps, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(causal_conv, (u, h))


@pytest.mark.parametrize(("steps", "taps"), [(9, 1), (9, 4), (12, 4), (5, 4), (5, 8)])
def test_a_filter_may_be_of_any_length(steps, taps):
    u, h = torch.randn(2, 3, steps, dtype=torch.float64), torch.randn(3, taps, dtype=torch.float64)
    want = definition(u.numpy(), np.pad(h.numpy(), ((0, 0), (0, steps)))[:, :steps])
    np.testing.assert_allclose(causal_conv(u, h).numpy(), want, atol=1e-12)
    assert torch.autograd.gradcheck(causal_conv, (u.requires_grad_(), h.requires_grad_()))


def test_both_sides_are_the_filter_and_its_mirror_with_the_present_once():
    u, h = torch.randn(2, 3, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    lags = (torch.arange(7)[:, None] - torch.arange(7)).abs()
    torch.testing.assert_close(two_sided_conv(u, h), torch.einsum("cts,bcs->bct", h[:, lags], u), atol=1e-12, rtol=0)


def test_a_cyclic_convolution_comes_round():
    u, h = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    back = (torch.arange(8)[:, None] - torch.arange(4)) % 8
    torch.testing.assert_close(cyclic_conv(u, h, 8), torch.einsum("cts,bcs->bct", h[:, back], u), atol=1e-12, rtol=0)


@pytest.mark.parametrize("steps", [8, 16, 64])
def test_nothing_wraps_around(steps):
    """The filter answers at the last moment alone; a transform as long as the sequence answers at the start too."""
    u, h = torch.zeros(1, 1, steps, dtype=torch.float64), torch.zeros(1, steps, dtype=torch.float64)
    u[..., -1] = 1
    h[:, 1:] = 1
    y = causal_conv(u, h)
    assert y.abs().max().item() < 1e-12
    short = irfft(rfft(u) * rfft(h), steps)
    assert short[..., 0].item() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_transformed_in_single(dtype):
    u, h = torch.randn(2, 3, 50).to(dtype), torch.randn(3, 50).to(dtype)
    got = causal_conv(u, h)
    assert got.dtype is dtype
    want = torch.from_numpy(definition(u.double().numpy(), h.double().numpy()))
    # One rounding to the half type, nothing else.
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=torch.finfo(dtype).eps)
    assert rfft(u).dtype is torch.complex64


def test_a_convolution_differentiates_in_the_types_that_came_in():
    u = torch.randn(1, 2, 9, dtype=torch.bfloat16, requires_grad=True)
    h = torch.randn(2, 9, requires_grad=True)
    causal_conv(u, h).float().sum().backward()
    assert (u.grad.dtype, h.grad.dtype) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("n", [None, 5, 40])
def test_transforms_equal_numpy(n):
    x = torch.randn(3, 17, dtype=torch.float64)
    np.testing.assert_allclose(rfft(x, n).numpy(), np.fft.rfft(x.numpy(), n), atol=1e-12)
    spectrum = rfft(x)
    np.testing.assert_allclose(irfft(spectrum, 17).numpy(), x.numpy(), atol=1e-12)


def test_fast_lengths_are_the_smallest_of_three_small_factors():
    # scipy's own list also allows 7 and 11 for complex transforms; for real ones it stops at 5, as here.
    assert [fast_length(n) for n in range(1, 3000)] == [scipy.fft.next_fast_len(n, real=True) for n in range(1, 3000)]
