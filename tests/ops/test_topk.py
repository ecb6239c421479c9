"""Choosing k of H: against the definition, with gradients, and as draws without replacement."""

import numpy as np
import pytest
import torch

from tests.reference import sparsity as definition
from undula.ops.topk import gumbel_like, hard_topk, soft_topk


def test_the_exact_choice_is_by_rank_row_by_row():
    scores = torch.randn(4, 7)
    scores[0, 3] = scores[0, 5]
    k = torch.tensor([1, 3, 7, 5])
    want = np.stack([definition.hard_topk(row, n) for row, n in zip(scores.numpy(), k.tolist(), strict=True)])
    np.testing.assert_array_equal(hard_topk(scores, k).numpy(), want)
    assert hard_topk(torch.zeros(5), 2).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_the_smooth_choice_equals_the_definition(temperature):
    scores, k = torch.randn(5, 9, dtype=torch.float64), torch.tensor([0.5, 2.0, 4.3, 8.0, 8.9], dtype=torch.float64)
    found = soft_topk(scores, k, temperature)
    want = [definition.soft_topk(row, n, temperature) for row, n in zip(scores.numpy(), k.tolist(), strict=True)]
    np.testing.assert_allclose(found.numpy(), want, atol=1e-9)
    torch.testing.assert_close(found.sum(-1), k)


def test_gradients_of_the_smooth_choice_are_those_of_the_threshold():
    scores = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    k = torch.tensor([1.5, 3.0, 4.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, n: soft_topk(s, n, 0.7), (scores, k))
    kept = soft_topk(scores, k)
    weights = torch.randn(6, dtype=torch.float64)
    by_scores, by_k = torch.autograd.grad((kept * weights).sum(), (scores, k))
    torch.testing.assert_close(by_scores.sum(-1), torch.zeros(3, dtype=torch.float64))
    (by_k,) = torch.autograd.grad(soft_topk(scores, k).sum(), (k,))
    torch.testing.assert_close(by_k, torch.ones(3, dtype=torch.float64))


def test_all_or_none_are_finite_with_finite_gradients():
    scores = torch.tensor([[1e4, -1e4, 0.0]] * 2, requires_grad=True)
    kept = soft_topk(scores, torch.tensor([0.0, 3.0]))
    kept.square().sum().backward()
    torch.testing.assert_close(kept.detach(), torch.tensor([[0.0] * 3, [1.0] * 3]), atol=1e-6, rtol=0)
    assert torch.isfinite(scores.grad).all()


def test_noisy_tops_are_draws_without_replacement():
    torch.manual_seed(0)
    scores = torch.tensor([0.0, 1.0, 2.0]).expand(40000, 3)
    kept = hard_topk(scores + gumbel_like(scores), 2).double().mean(0)
    p = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64).softmax(0)
    want = [p[a] + sum(p[b] * p[a] / (1 - p[b]) for b in range(3) if b != a) for a in range(3)]
    np.testing.assert_allclose(kept.numpy(), np.array(want), atol=0.01)
