"""A short convolution given whole or in pieces."""

import pytest
import torch

from undula.nn.short_conv import CausalConv


@pytest.mark.parametrize("taps", [1, 2, 5])
@pytest.mark.parametrize("sizes", [[9], [1] * 9, [2, 1, 6], [8, 1]])
def test_pieces_equal_the_whole(taps, sizes):
    conv = CausalConv(3, taps).double()
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 3, 9, dtype=torch.float64)
    past, pieces = conv.no_past(2, None, torch.float64), []
    for piece in x.split(sizes, dim=-1):
        y, past = conv.stream(piece, past)
        assert past.shape == (2, 3, taps - 1)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=-1), conv(x), atol=1e-12, rtol=0)


def test_no_past_is_silence_on_the_weights_side():
    past = CausalConv(3, 4).double().no_past(5, None, None)
    assert torch.equal(past, torch.zeros(5, 3, 3, dtype=torch.float64))


def test_a_filter_without_taps_is_refused():
    with pytest.raises(ValueError, match="taps=0 is not positive"):
        CausalConv(3, 0)


def test_near_identity_lets_the_present_through():
    weight = CausalConv(500, 16, near_identity=True).weight.detach()
    assert weight[:, -1].mean().item() == pytest.approx(1.0, abs=0.01)
    assert 0.03 < weight[:, :-1].abs().max().item() <= 1 / 32
    assert 0.24 < CausalConv(500, 16).weight.abs().max().item() <= 1 / 4
