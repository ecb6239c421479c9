"""Spectral mixers: bands, thresholds, the reach of filters, and long streams."""

import pytest
import torch

from undula.mixers import base
from undula.mixers.base import MIXERS, build_mixer, state_bytes
from undula.mixers.spectral_filter import SpectralFilter
from undula.mixers.spectral_gate import SpectralGate
from undula.ops import harmonics, online_conv


def test_bands_start_with_timescales_of_their_own():
    mixer = SpectralGate(64, 4, num_bands=4)
    memory = -mixer.filter.log_decay.detach().mean(1)
    channel = torch.arange(64) % 16
    typical = [memory[channel % 4 == band].mean().item() for band in range(4)]
    steps = [later - earlier for earlier, later in zip(typical, typical[1:], strict=False)]
    assert all(step == pytest.approx(1.38, abs=0.2) for step in steps)


def test_a_gate_belongs_to_one_band_of_one_head():
    """Shutting the gate of a band silences its channels, and no others: seen in the gradient of their filters."""
    mixer = SpectralGate(12, 2, num_bands=3).double()
    x = torch.randn(2, 9, 12, dtype=torch.float64)
    with torch.no_grad():
        mixer.band_gate.weight[1 * 3 + 2] = 0.0
        mixer.threshold[1] = 2000.0
        mixer.band_gate.weight[3:5] = 0.0
    (grad,) = torch.autograd.grad(mixer(x).square().sum(), mixer.filter.direct)
    assert (grad == 0).tolist() == [False] * 6 + [True] * 6
    open_gates = SpectralGate(12, 2, num_bands=3).double()
    with torch.no_grad():
        open_gates.band_gate.weight.zero_()
        open_gates.band_gate.weight[0] = -1e4 * torch.eye(12)[0]
    x[..., 0] = 1.0
    (grad,) = torch.autograd.grad(open_gates(x).square().sum(), open_gates.filter.direct)
    assert (grad == 0).tolist() == [True, False, False] * 2 + [False] * 6


def test_gates_start_neutral():
    mixer = SpectralGate(12, 2)
    torch.nn.init.zeros_(mixer.band_gate.weight)
    x = torch.randn(2, 9, 12)
    gate, u, _ = mixer.gate(x, None, None)
    plain = gate.closed(mixer.filter(u), mixer.out_proj)
    torch.testing.assert_close(mixer(x), plain)


def test_impossible_bands_are_refused():
    with pytest.raises(ValueError, match="num_bands=4 in heads of 3 channels; wanted 1 to 3"):
        SpectralGate(12, 4, num_bands=4)
    with pytest.raises(ValueError, match="d_model=12 is not a multiple of num_heads=5"):
        SpectralGate(12, 5)


def test_spectral_filters_reach_as_far_as_they_say():
    mixer = SpectralFilter(6, num_filters=3, filter_length=7, short_conv=1).double()
    x = torch.randn(1, 40, 6, dtype=torch.float64)
    changed = x.clone()
    changed[:, 5] += 1
    moved = (mixer(changed) - mixer(x)).abs().amax((0, 2)) > 1e-12
    assert moved.nonzero().flatten().tolist() == list(range(5, 12))


def test_a_longer_sequence_has_the_same_filters():
    """Filters that followed the length of the sequence would read the future from it."""
    bank = SpectralFilter(6, num_filters=3, filter_length=50).filter
    assert torch.equal(bank.impulse_response(20), bank.impulse_response(80)[:, :20])
    assert bank.impulse_response(80).shape == (6, 50)


@pytest.mark.parametrize(("name", "options"), [("spectral_gate", {}), ("spectral_filter", {"filter_length": 600})])
def test_thousands_of_steps_stream_in_single_precision(monkeypatch, name, options):
    monkeypatch.setattr(harmonics, "CHUNK", 64)
    mixer = build_mixer(name, 8, 2, **options)
    x = torch.randn(1, 5000, 8)
    sizes = [1] * 70 + [700, 1, 1, 1229, 2998, 1]
    with torch.no_grad():
        whole, state, pieces, held = mixer(x), mixer.init_state(1), [], []
        for piece in x.split(sizes, dim=1):
            y, state = mixer(piece, state=state)
            pieces.append(y)
            held.append(state_bytes(state))
    error = (torch.cat(pieces, dim=1) - whole).abs().max() / whole.square().mean().sqrt()
    assert error < 1e-4
    # Twice the filters' reach in inputs, as much in what they add, and what the short convolution sees.
    assert max(held) <= (held[0] if name == "spectral_gate" else 4 * 8 * (3 * 1024 + online_conv.LEAF + 3))


def test_filters_are_made_once_for_all_pieces_of_a_sequence(monkeypatch):
    monkeypatch.setattr(base, "PIECE", 64)
    mixer, asked = SpectralFilter(6, num_filters=3, filter_length=32), []
    made = mixer.filter.impulse_response
    monkeypatch.setattr(mixer.filter, "impulse_response", lambda length: asked.append(length) or made(length))
    mixer(torch.randn(1, 3 * 64, 6))
    assert asked == [32]


IN_PIECES = sorted(name for name in MIXERS if MIXERS[name].traits.bounded_state or name == "spectral_filter")


@pytest.mark.parametrize("name", IN_PIECES)
def test_a_long_sequence_is_taken_in_pieces_with_the_same_gradients(monkeypatch, name):
    mixer = build_mixer(name, 8, 2).double().eval()
    x, mask = torch.randn(2, 23, 8, dtype=torch.float64, requires_grad=True), torch.ones(2, 23, dtype=torch.bool)
    mask[1, :9] = False
    at_once, leaves = [], [x, *mixer.parameters()]
    mixer.out_proj.register_forward_hook(lambda _, given, __: at_once.append(given[0].shape[1]))

    def result():
        y = mixer(x, attention_mask=mask)
        return y, torch.autograd.grad(y[mask].sin().sum(), leaves, allow_unused=True)

    want, gradients = result()
    monkeypatch.setattr(base, "PIECE", 5)
    got, found = result()
    assert at_once == [23, 5, 5, 5, 5, 3]
    torch.testing.assert_close(got[mask], want[mask], atol=1e-12, rtol=0)
    for one, other in zip(found, gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)
    if mixer.traits.bidirectional:
        assert (mixer(x, False, mask) - want).abs().max() > 1e-3
        assert at_once[-1] == 23


def test_a_spectral_filter_can_be_rounded_without_its_table():
    mixer = SpectralFilter(6, num_filters=3, filter_length=50)
    want = mixer.filter.impulse_response(50)
    with torch.no_grad():
        mixer.bfloat16().float()
    got = mixer.filter.impulse_response(50)
    # The mixture is rounded to 8 bits, the table is not.
    torch.testing.assert_close(got, want, rtol=0.01, atol=2e-3)
    assert [name for name, _ in mixer.named_buffers()] == []
