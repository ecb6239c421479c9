"""The damped-harmonic convolution: long pieces, precision, and what its state holds."""

import pytest
import torch

from undula.mixers import base
from undula.mixers.fft_conv import FFTConv


def test_long_pieces_are_transformed_in_parts(monkeypatch):
    mixer = FFTConv(6).double()
    x = torch.randn(2, 23, 6, dtype=torch.float64)
    mask = torch.ones(2, 23, dtype=torch.bool)
    mask[1, :9] = False
    monkeypatch.setattr(base, "PIECE", 5)
    for given in (None, mask):
        streamed, _ = mixer(x, attention_mask=given, state=mixer.init_state(2))
        torch.testing.assert_close(streamed, mixer(x, attention_mask=given), atol=1e-12, rtol=0)


def test_both_directions_are_the_filter_and_its_mirror():
    """With a short filter of one tap nothing else looks back: reversing the input reverses the output."""
    mixer = FFTConv(6, short_conv=1).double()
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    torch.testing.assert_close(mixer(x.flip(1), False).flip(1), mixer(x, False), atol=1e-12, rtol=0)
    assert (mixer(x.flip(1)).flip(1) - mixer(x)).abs().max() > 1e-3


def test_the_state_keeps_its_size_and_its_precision():
    mixer = FFTConv(6, num_modes=3, short_conv=4).bfloat16()
    state = mixer.init_state(2)
    for steps in (1, 30, 1):
        _, state = mixer(torch.randn(2, steps, 6).bfloat16(), state=state)
        assert state.poles.shape == (2, 6, 3, 2)
        assert state.poles.dtype is torch.float32
        assert state.recent.shape == (2, 6, 3)


def test_a_late_step_is_as_exact_as_an_early_one_in_single_precision():
    mixer = FFTConv(6)
    x = torch.randn(1, 5000, 6)
    with torch.no_grad():
        single = mixer(x)
        double = mixer.double()(x.double())
    error = (single.double() - double)[:, -500:].square().mean().sqrt() / double.square().mean().sqrt()
    assert error < 1e-5


@pytest.mark.parametrize("taps", [0, -1])
def test_filters_without_taps_are_refused(taps):
    with pytest.raises(ValueError, match=f"taps={taps} is not positive"):
        FFTConv(6, short_conv=taps)
