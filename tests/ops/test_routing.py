"""Routing to experts against its definition."""

import numpy as np
import pytest
import torch

from tests.reference import mixture
from undula.ops.routing import load_balance, top_experts


def scores(tokens=9, experts=5):
    return torch.randn(tokens, experts, dtype=torch.float64)


@pytest.mark.parametrize("active", [1, 2, 5])
def test_the_best_experts_and_their_weights(active):
    s = scores()
    chosen, weights = top_experts(s, active)
    for row, experts, given in zip(s.numpy(), chosen.tolist(), weights.numpy(), strict=True):
        chances = mixture.softmax(row)
        assert experts == mixture.chosen(chances, active)
        whole = 1.0 if active == 1 else chances[experts].sum()
        np.testing.assert_allclose(given, chances[experts] / whole, rtol=1e-12)


def test_one_active_expert_still_teaches_the_router():
    s = scores().requires_grad_()
    _, weights = top_experts(s, 1)
    (gradient,) = torch.autograd.grad(weights.sum(), s)
    assert gradient.abs().amax(1).min() > 1e-3


@pytest.mark.parametrize("active", [1, 2])
def test_balance_by_definition_over_real_tokens(active):
    s, real = scores(), torch.arange(9) % 3 > 0
    s[~real] = float("nan")
    chosen, _ = top_experts(torch.where(real[:, None], s, 0.0), active)
    got = load_balance(s, chosen, real)
    assert got.item() == pytest.approx(mixture.balance(s.numpy(), active, real.numpy()), rel=1e-12)
    assert load_balance(s, chosen, torch.zeros_like(real)).item() == 0


def test_balance_is_1_where_use_is_even_and_the_number_of_experts_where_one_takes_all():
    even = 50.0 * torch.eye(4)
    assert load_balance(even, even.topk(1).indices).item() == pytest.approx(1)
    one = torch.tensor([[50.0, 0, 0, 0]]).repeat(4, 1)
    assert load_balance(one, one.topk(1).indices).item() == pytest.approx(4)


def test_balance_lowers_what_is_used_too_much():
    s = (torch.tensor([1.0, 0, 0, 0]) + 0.01 * torch.randn(64, 4)).requires_grad_()
    (gradient,) = torch.autograd.grad(load_balance(s, s.topk(1).indices), s)
    assert (gradient[:, 0] > 0).all()
    assert (gradient[:, 1:] < 0).all()
