"""The causal tree adds up to its input and never looks ahead."""

import numpy as np
import pytest
import torch

from tests.reference import wavelet as reference
from undula.ops.wavelet_filters import named_filters
from undula.ops.wavelet_tree import causal_tree

LOW = named_filters("db2").analysis[0].flip(0)


def test_equals_the_definition_and_adds_up():
    x = torch.randn(37, dtype=torch.float64)
    smooth, details, _ = causal_tree(x, LOW, 4)
    want, want_details = reference.causal_tree(x.numpy(), LOW.numpy(), 4)
    np.testing.assert_allclose(smooth.numpy(), want, atol=1e-13)
    for got, expected in zip(details, want_details, strict=True):
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-13)
    assert (smooth + sum(details) - x).abs().max() < 1e-14


def test_nothing_comes_from_the_future():
    x = torch.randn(2, 37, dtype=torch.float64, requires_grad=True)
    smooth, details, _ = causal_tree(x, LOW, 3)
    for out in (smooth, *details):
        (gradient,) = torch.autograd.grad(out[:, 20].sum(), x, retain_graph=True)
        assert gradient[:, 21:].abs().max() == 0
        assert gradient[:, 20].abs().max() > 0


@pytest.mark.parametrize("cuts", [(1,) * 23, (5, 1, 17)])
def test_pieces_are_as_the_whole(cuts):
    x = torch.randn(2, sum(cuts), dtype=torch.float64)
    whole, fine, _ = causal_tree(x, LOW, 3)
    history, pieces, parts = None, [], []
    for piece in x.split(cuts, dim=-1):
        smooth, details, history = causal_tree(piece, LOW, 3, history)
        pieces.append(smooth)
        parts.append(details[2])
    assert (torch.cat(pieces, -1) - whole).abs().max() < 1e-14
    assert (torch.cat(parts, -1) - fine[2]).abs().max() < 1e-14
    assert [h.shape[-1] for h in history] == [3, 6, 12]


def test_gradients_and_bad_input():
    x, low = torch.randn(9, dtype=torch.float64, requires_grad=True), LOW.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, low: causal_tree(x, low, 2)[0], (x, low))
    with pytest.raises(ValueError, match="sum to zero; wanted a low-pass"):
        causal_tree(x, named_filters("db2").analysis[1], 2)
    with pytest.raises(ValueError, match="levels=0 with 4 taps"):
        causal_tree(x, LOW, 0)


def test_each_level_may_have_a_filter_of_its_own():
    x, lows = torch.randn(2, 23, dtype=torch.float64), torch.stack([LOW, LOW.flip(0)])
    smooth, details, _ = causal_tree(x, lows, 2)
    first, fine, _ = causal_tree(x, lows[0], 1)
    torch.testing.assert_close(details[0], fine[0])
    want = reference.causal_tree(first[0].numpy(), lows[1].numpy(), 1)
    twice = np.zeros(23)
    for t in range(23):
        twice[t] = sum(lows[1, k] * first[0, t - 2 * k] for k in range(4) if t >= 2 * k) / lows[1].sum()
    np.testing.assert_allclose(smooth[0].numpy(), twice, atol=1e-13)
    assert abs(want[0] - twice).max() > 1e-3
