"""Short filters: their reach is what they say."""

import pytest
import torch

from undula.mixers.short_conv import ShortConv


@pytest.mark.parametrize(("taps", "short"), [(1, 1), (4, 3), (16, 4)])
def test_an_output_depends_on_as_many_inputs_as_the_taps_reach(taps, short):
    mixer = ShortConv(6, taps=taps, short_conv=short).double()
    x = torch.randn(1, 40, 6, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(mixer(x)[0, -1].sum(), x)
    touched = g[0].abs().sum(-1).nonzero()[:, 0]
    assert touched.tolist() == list(range(40 - (taps + short - 1), 40))


def test_looking_ahead_is_refused():
    with pytest.raises(ValueError, match="short_conv looks back only; use attention or fft_conv where causal=False"):
        ShortConv(6)(torch.randn(1, 3, 6), causal=False)
