"""Mixtures of experts: by definition, without dropped tokens, computing the active ones alone."""

import copy

import numpy as np
import pytest
import torch

from tests.reference import mixture
from undula.nn.mixture import MixtureOfExperts


def made(active=2, experts=4, **options):
    built = MixtureOfExperts(6, 10, experts, active, **options).double()
    with torch.no_grad():
        built.router.weight.normal_()
    return built


@pytest.mark.parametrize("active", [1, 2, 4])
def test_equals_the_definition_and_its_gradients(active):
    built = made(active).eval()
    x = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    named = dict(built.named_parameters())
    want = mixture.mixture(x.detach().numpy(), {name: p.detach().numpy() for name, p in named.items()}, active)
    np.testing.assert_allclose(built(x).detach().numpy(), want, atol=1e-12)

    def run(x, *values):
        return torch.func.functional_call(built, dict(zip(named, values, strict=True)), x)

    assert torch.autograd.gradcheck(run, (x, *named.values()), fast_mode=True)


def test_experts_compute_what_was_sent_to_them_and_nothing_more():
    built, seen = made(2), []
    for expert in built.experts:
        expert.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    # All of 300 tokens choose the same two: none is dropped, and the others do nothing.
    built(torch.randn(6, dtype=torch.float64).expand(3, 100, 6))
    assert sorted(seen) == [0, 0, 300, 300]


def test_every_parameter_of_every_expert_has_a_gradient():
    built = made(2, experts=8)
    (built(torch.randn(4, 32, 6, dtype=torch.float64)).square().mean() + built.aux_loss()).backward()
    assert [name for name, p in built.named_parameters() if p.grad.abs().max() == 0] == []


def test_an_expert_that_nobody_chose_has_a_gradient_of_zero():
    built = made(1, experts=8)
    built(torch.randn(6, dtype=torch.float64).expand(1, 3, 6)).sum().backward()
    assert all(p.grad is not None for p in built.parameters())


def test_the_balance_is_by_definition_weighted_and_given_once():
    built, x = made(balance=0.5), torch.randn(2, 5, 6, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]])
    built(x, mask)
    scores = (x.flatten(0, 1) @ built.router.weight.T).detach().numpy()
    assert built.aux_loss().item() == pytest.approx(0.5 * mixture.balance(scores, 2, mask.flatten().numpy()))
    assert built.aux_loss() is None


def test_only_training_has_a_loss_and_a_copy_can_be_made_before_it_is_taken():
    built, x = made(), torch.randn(1, 5, 6, dtype=torch.float64)
    built(x)
    assert copy.deepcopy(built).aux_loss() is None
    built.eval()(x)
    assert built.aux_loss() is None
    with torch.no_grad():
        built.train()(x)
    assert built.aux_loss() is None


def test_the_loss_brings_idle_experts_back():
    built = made(1, experts=4, balance=1.0).float()
    with torch.no_grad():
        built.router.weight.copy_(torch.eye(4, 6) * 0.1)
        built.router.weight[0] = 0.3
    x = torch.rand(8, 32, 6) + 0.5

    def used():
        return torch.bincount((x.flatten(0, 1) @ built.router.weight.T).argmax(-1), minlength=4).tolist()

    assert used() == [256, 0, 0, 0]
    optimizer = torch.optim.Adam([built.router.weight], 0.02)
    for _ in range(200):
        built(x)
        optimizer.zero_grad()
        built.aux_loss().backward()
        optimizer.step()
    assert min(used()) > 20


def test_the_router_computes_in_float32_under_autocast():
    built = made().float().eval()
    x, seen = torch.randn(1, 64, 6), []
    router = built._scores
    built._scores = lambda tokens: seen.append(router(tokens)) or seen[-1]
    with torch.autocast("cpu", torch.bfloat16):
        built(x)
    torch.testing.assert_close(seen[0], x[0] @ built.router.weight.T)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_experts": 2, "num_active": 3}, "num_active=3 of num_experts=2; wanted at least 1"),
        ({"num_active": 0}, "num_active=0 of num_experts=8"),
        ({"balance": -1.0}, "balance=-1.0; wanted 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        MixtureOfExperts(4, 8, **given)
