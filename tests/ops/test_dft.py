"""Transforms made of matrix products: the same as the library's, forward and backward."""

import pytest
import torch

from undula.mixers.fft_conv import FFTConv
from undula.ops import dft
from undula.ops.fft import _wants_matmul, causal_conv, irfft, rfft, transforms_by_matmul

LENGTHS = [1, 2, 3, 8, 30, 37, 64, 225, 360, 1000]


def test_lengths_are_cut_near_their_square_root():
    assert [dft.split(n) for n in (1, 2, 37, 64, 360, 400_000)] == [
        (1, 1),
        (1, 2),
        (1, 37),
        (8, 8),
        (18, 20),
        (625, 640),
    ]


@pytest.mark.parametrize("n", LENGTHS)
def test_both_directions_equal_the_library(n):
    x = torch.randn(2, 3, n, dtype=torch.float64)
    spectrum = torch.fft.rfft(x)
    torch.testing.assert_close(dft.rfft(x, n), spectrum, atol=1e-11, rtol=0)
    torch.testing.assert_close(dft.irfft(spectrum, n), x, atol=1e-12, rtol=0)
    # Imaginary parts at 0 and at half the rate say nothing about real samples: both ignore them.
    other = torch.randn_like(spectrum)
    torch.testing.assert_close(dft.irfft(other, n), torch.fft.irfft(other, n), atol=1e-12, rtol=0)


@pytest.mark.parametrize("n", [5, 12, 40])
def test_samples_are_padded_or_cut(n):
    x = torch.randn(3, 17, dtype=torch.float64)
    torch.testing.assert_close(dft.rfft(x, n), torch.fft.rfft(x, n), atol=1e-12, rtol=0)


@pytest.mark.parametrize("n", [8, 15, 36])
def test_gradients_equal_the_library(n):
    x = torch.randn(2, n, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, n // 2 + 1, dtype=torch.complex128)

    def gradient(transform):
        return torch.autograd.grad((transform(x) * weights).real.sum(), x)[0]

    torch.testing.assert_close(gradient(lambda x: dft.rfft(x, n)), gradient(torch.fft.rfft), atol=1e-12, rtol=0)
    spectrum = torch.randn(2, n // 2 + 1, dtype=torch.complex128, requires_grad=True)
    along = torch.randn(2, n, dtype=torch.float64)
    grads = [torch.autograd.grad(t(spectrum, n), spectrum, along)[0] for t in (dft.irfft, torch.fft.irfft)]
    torch.testing.assert_close(grads[0], grads[1], atol=1e-12, rtol=0)


def test_single_precision_stays_near_double_also_under_autocast():
    x = torch.randn(4, 4096)
    want = torch.fft.rfft(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        got = dft.rfft(x, 4096)
        back = dft.irfft(got, 4096)
    assert ((got - want).abs().max() / want.abs().square().mean().sqrt()).item() < 5e-6
    assert (back - x).abs().max().item() < 5e-6


def test_the_choice_holds_inside_its_context_and_for_the_backward_pass_there(monkeypatch):
    calls = []
    plain = dft.rfft
    monkeypatch.setattr(dft, "rfft", lambda x, n: calls.append(n) or plain(x, n))
    x = torch.randn(2, 9)
    rfft(x)
    assert calls == []
    with transforms_by_matmul():
        rfft(x)
        with transforms_by_matmul(False):
            rfft(x, 7)
        rfft(x, 12)
    rfft(x, 5)
    assert calls == [9, 12]


def test_convolutions_and_mixers_are_the_same_either_way():
    mixer = FFTConv(6).double()
    u = torch.randn(2, 21, 6, dtype=torch.float64, requires_grad=True)

    def results():
        y = mixer(u)
        return y, *torch.autograd.grad(y.square().sum(), [u, *mixer.parameters()])

    want = results()
    with transforms_by_matmul():
        got = results()
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)
    assert not torch.equal(got[0], want[0])
    with transforms_by_matmul():
        assert irfft(rfft(u), 6).shape == u.shape
    assert causal_conv(u, torch.zeros(21, 6, dtype=torch.float64)).abs().max() == 0


def test_devices_without_a_transform_take_products():
    """Asked of the device alone, since none of this kind is here: by measurement, a CPU calls its own transform."""
    assert _wants_matmul(torch.device("xla"))
    assert not _wants_matmul(torch.device("cpu"))
    with transforms_by_matmul(False):
        assert not _wants_matmul(torch.device("xla"))
