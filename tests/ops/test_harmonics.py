"""Damped harmonics: the filter, the recurrence and its pieces are one and the same."""

import numpy as np
import pytest
import torch

from tests.reference.convolution import harmonic_states
from tests.reference.convolution import impulse_response as definition
from undula.ops import harmonics


def parts(channels=3, modes=2):
    decay = torch.rand(channels, modes, dtype=torch.float64) * 0.5 + 0.01
    frequency = torch.rand(channels, modes, dtype=torch.float64) * 3
    gain = torch.randn(channels, modes, 2, dtype=torch.float64)
    return decay, frequency, gain


def complex_of(pairs):
    return pairs[..., 0].numpy() + 1j * pairs[..., 1].numpy()


@pytest.mark.parametrize("length", [1, 2, 3, 15, 16, 17, 37, 100])
def test_impulse_response_equals_the_definition(length):
    values = parts()
    got = harmonics.impulse_response(*values, length)
    np.testing.assert_allclose(got.numpy(), definition(*(v.numpy() for v in values), length), atol=1e-12)


def test_gradients_of_the_impulse_response():
    values = [v.requires_grad_() for v in parts()]
    assert torch.autograd.gradcheck(lambda *v: harmonics.impulse_response(*v, 11), values)


def test_powers_of_late_steps_are_exact_in_single_precision():
    """A frequency times 100,000 steps in float32 is off by a hundredth of a turn."""
    frequency = torch.tensor([[2.7]])
    cos, sin = harmonics.powers(torch.zeros(1, 1), frequency, torch.tensor([100_000]))
    turned = np.exp(1j * np.float64(np.float32(2.7)) * 100_000)
    assert cos.item() == pytest.approx(turned.real, abs=1e-6)
    assert sin.item() == pytest.approx(turned.imag, abs=1e-6)


def test_steps_follow_the_recurrence():
    decay, frequency, gain = parts()
    u = torch.randn(2, 3, 9, dtype=torch.float64)
    states = harmonic_states(u.numpy(), decay.numpy(), frequency.numpy())
    state = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    for t in range(9):
        y, state = harmonics.step(u[..., t], state, decay, frequency, gain)
        np.testing.assert_allclose(complex_of(state), states[:, :, t], atol=1e-12)
        want = (complex_of(gain) * states[:, :, t]).real.sum(-1)
        np.testing.assert_allclose(y.numpy(), want, atol=1e-12)


def test_the_recurrence_is_the_convolution_with_the_impulse_response():
    decay, frequency, gain = parts()
    u = torch.zeros(1, 3, 12, dtype=torch.float64)
    u[..., 0] = 1
    state, outputs = torch.zeros(1, 3, 2, 2, dtype=torch.float64), []
    for t in range(12):
        y, state = harmonics.step(u[..., t], state, decay, frequency, gain)
        outputs.append(y)
    want = harmonics.impulse_response(decay, frequency, gain, 12)
    torch.testing.assert_close(torch.stack(outputs, dim=-1)[0], want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_absorbing_and_ringing_out_continue_what_was_cut(cut):
    decay, frequency, gain = parts()
    u = torch.randn(2, 3, 9, dtype=torch.float64)
    states = harmonic_states(u.numpy(), decay.numpy(), frequency.numpy())
    start = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    state = harmonics.absorb(u[..., cut:], harmonics.absorb(u[..., :cut], start, decay, frequency), decay, frequency)
    np.testing.assert_allclose(complex_of(state), states[:, :, -1], atol=1e-12)
    silent = torch.cat([u, torch.zeros(2, 3, 5, dtype=torch.float64)], dim=-1)
    ringing = harmonic_states(silent.numpy(), decay.numpy(), frequency.numpy())[:, :, 9:]
    want = (complex_of(gain)[:, None] * ringing).real.sum(-1)
    np.testing.assert_allclose(harmonics.ring_out(state, decay, frequency, gain, 5).numpy(), want, atol=1e-12)


def test_a_table_of_powers_equals_each_power():
    decay, frequency, _ = parts()
    for length in (1, 2, 9, 24):
        want = harmonics.powers(decay, frequency, torch.arange(length))
        for table, each in zip(harmonics.power_table(decay, frequency, length), want, strict=True):
            torch.testing.assert_close(table, each, atol=1e-14, rtol=0)


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 8, 13, 37])
@pytest.mark.parametrize("started", [False, True])
def test_convolution_in_chunks_is_the_recurrence(monkeypatch, steps, started):
    monkeypatch.setattr(harmonics, "CHUNK", 4)
    decay, frequency, gain = parts()
    direct, u = torch.randn(3, dtype=torch.float64), torch.randn(2, 3, steps, dtype=torch.float64)
    first = torch.randn(2, 3, 2, 2, dtype=torch.float64) if started else None
    got, after = harmonics.convolve(u, first, decay, frequency, gain, direct)
    state = torch.zeros(2, 3, 2, 2, dtype=torch.float64) if first is None else first
    for t in range(steps):
        y, state = harmonics.step(u[..., t], state, decay, frequency, gain)
        torch.testing.assert_close(got[..., t], y + direct * u[..., t], atol=1e-12, rtol=0)
    torch.testing.assert_close(after, state, atol=1e-12, rtol=0)


def test_gradients_of_the_convolution_in_chunks(monkeypatch):
    monkeypatch.setattr(harmonics, "CHUNK", 4)
    values = [
        torch.randn(2, 3, 11, dtype=torch.float64),
        torch.randn(2, 3, 2, 2, dtype=torch.float64),
        *parts(),
        torch.randn(3, dtype=torch.float64),
    ]
    assert torch.autograd.gradcheck(harmonics.convolve, [v.requires_grad_() for v in values])
