"""A bank of damped harmonics: streams as it convolves, and starts over the stated range."""

import math

import numpy as np
import pytest
import torch

from tests.reference.convolution import impulse_response as definition
from undula.nn import damped_filter
from undula.nn.damped_filter import DampedHarmonics
from undula.ops import harmonics
from undula.ops.fft import causal_conv


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_convolution_cut_in_two_rings_on(cut):
    bank = DampedHarmonics(3, 4).double()
    u = torch.randn(2, 3, 13, dtype=torch.float64)
    whole = causal_conv(u, bank.impulse_response(13))
    silent = bank.silence(2, None, None)
    first, state = bank.resume(u[..., :cut], silent)
    rest, _ = bank.resume(u[..., cut:], state)
    torch.testing.assert_close(torch.cat([first, rest], dim=-1), whole, atol=1e-12, rtol=0)
    y, _ = bank.resume(u[..., cut : cut + 1], state)
    torch.testing.assert_close(y, whole[..., cut : cut + 1], atol=1e-12, rtol=0)
    assert silent.count_nonzero() == 0


@pytest.mark.parametrize("causal", [True, False])
def test_long_sequences_are_filtered_in_chunks_to_the_same_numbers(monkeypatch, causal):
    bank = DampedHarmonics(3, 4).double()
    u = torch.randn(2, 3, 23, dtype=torch.float64)
    whole = bank(u, causal)
    monkeypatch.setattr(damped_filter, "LONG", 22)
    monkeypatch.setattr(harmonics, "CHUNK", 5)
    torch.testing.assert_close(bank(u, causal), whole, atol=1e-12, rtol=0)
    assert not torch.equal(bank(u, causal), whole)


def test_starts_over_the_stated_range():
    bank = DampedHarmonics(200, 8, slowest=0.01)
    decay = bank.log_decay.exp().median(dim=0).values
    assert decay[0].item() == pytest.approx(0.5, rel=0.1)
    assert decay[-1].item() == pytest.approx(0.01, rel=0.1)
    assert bank.modes == 8
    assert 0 <= bank.frequency.min().item() <= bank.frequency.max().item() < math.pi
    assert bank.frequency[:20].max().item() < 0.1 * math.pi
    power = bank.gain.square().sum((1, 2)).mean().item()
    assert power == pytest.approx(0.04**2, rel=0.1)
    assert bank.direct.tolist() == [1.0] * 200


def test_filters_may_start_in_bands_of_decays():
    band = torch.arange(4).repeat(50)
    bank = DampedHarmonics(200, 8, slowest=0.5**5, band=band, num_bands=4)
    typical = torch.stack([bank.log_decay[band == b].exp().median(dim=0).values for b in range(4)])
    for b in range(4):
        assert typical[b, 0].item() == pytest.approx(0.5 ** (b + 1), rel=0.2)
        assert typical[b, -1].item() == pytest.approx(0.5 ** (b + 2), rel=0.2)


def test_the_filter_is_computed_in_single_precision_at_least():
    bank = DampedHarmonics(3, 4).bfloat16()
    assert bank.impulse_response(9).dtype is torch.float32
    y, state = bank.step(torch.randn(2, 3).bfloat16(), torch.zeros(2, 3, 4, 2))
    assert (y.dtype, state.dtype) == (torch.float32, torch.float32)


def test_the_filter_is_the_definition_with_a_direct_path():
    bank = DampedHarmonics(3, 4).double()
    torch.nn.init.normal_(bank.direct)
    parts = [t.detach().numpy() for t in (bank.log_decay.exp(), bank.frequency, bank.gain)]
    want = definition(*parts, 9)
    want[:, 0] += bank.direct.detach().numpy()
    np.testing.assert_allclose(bank.impulse_response(9).detach().numpy(), want, atol=1e-12)


def test_mixed_precision_leaves_the_filter_alone():
    bank = DampedHarmonics(3, 4)
    u, state = torch.randn(2, 3, 9), torch.randn(2, 3, 4, 2)
    want = (bank.impulse_response(50), *bank.resume(u, state), *bank.resume(u[..., :1], state))
    with torch.autocast("cpu", torch.bfloat16):
        got = (bank.impulse_response(50), *bank.resume(u, state), *bank.resume(u[..., :1], state))
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_every_filter_decays():
    h = DampedHarmonics(16, 8).impulse_response(20_000)
    assert h.isfinite().all()
    assert h[:, -100:].abs().max() < 1e-3 * h.abs().max()


def test_without_phases_all_harmonics_are_cosines():
    bank = DampedHarmonics(3, 4, phase_aware=False, memory=1e3).double()
    plain = torch.stack([bank.gain[..., 0], torch.zeros_like(bank.gain[..., 0])], dim=-1)
    decay, frequency, gain, _ = bank._parts(bank.gain, None)
    assert torch.equal(gain, plain)
    want = definition(*(t.detach().numpy() for t in (decay, frequency, plain)), 9)
    want[:, 0] += bank.direct.detach().numpy()
    np.testing.assert_allclose(bank.impulse_response(9).detach().numpy(), want, atol=1e-12)
    u = torch.randn(2, 3, 9, dtype=torch.float64)
    y, _ = bank.resume(u, bank.silence(2, None, None))
    torch.testing.assert_close(y, bank(u), atol=1e-12, rtol=0)
    assert bank.gain.grad_fn is None
    assert bank.gain.shape == (3, 4, 1)


@pytest.mark.parametrize("causal", [True, False])
def test_scaled_filters_are_scaled_outputs(monkeypatch, causal):
    """In one transform, in chunks, in pieces, and step by step."""
    bank = DampedHarmonics(3, 4).double()
    scale, u = torch.tensor([2.0, -0.5, 3.0]).double(), torch.randn(2, 3, 13, dtype=torch.float64)
    want = bank(u, causal) * scale[:, None]
    torch.testing.assert_close(bank(u, causal, scale), want, atol=1e-12, rtol=0)
    if causal:
        state, pieces = bank.silence(2, None, None), []
        for piece in u.split([6, 1, 6], dim=-1):
            y, state = bank.resume(piece, state, scale)
            pieces.append(y)
        torch.testing.assert_close(torch.cat(pieces, dim=-1), want, atol=1e-12, rtol=0)
    monkeypatch.setattr(damped_filter, "LONG", 12)
    torch.testing.assert_close(bank(u, causal, scale), want, atol=1e-12, rtol=0)
