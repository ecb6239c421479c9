"""The selector of modes: it keeps what it says, alike in training and use, without jumps, and its share learns."""

import pytest
import torch

from undula.nn.chunk_plan import ModeSelector
from undula.nn.shares import LEAST, MOST


def scores(seed=0, modes=10):
    return torch.randn(2, 5, 3, modes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def selector(sparsity=0.3, adaptive=False, modes=10):
    torch.manual_seed(1)
    return ModeSelector(3, modes, sparsity, adaptive).double()


@pytest.mark.parametrize(("sparsity", "count"), [(0.05, 1), (0.3, 3), (0.44, 4), (1.0, 10)])
def test_as_many_are_kept_in_training_as_in_use(sparsity, count):
    built = selector(sparsity)
    kept = [built.train(mode).chosen(scores()) for mode in (True, False)]
    assert torch.equal(*kept)
    assert (kept[0].sum(-1) == count).all()
    weights, which = built(scores())
    assert weights.shape == which.shape == (2, 5, 3, count)
    best = (scores() + built.preference).argsort(-1, descending=True)[..., :count]
    assert torch.equal(which, best)


def test_all_modes_weigh_one_where_all_are_kept():
    torch.testing.assert_close(selector(1.0)(scores())[0], torch.ones(2, 5, 3, 10, dtype=torch.float64))


def test_each_head_keeps_its_own_share_within_the_range():
    built = selector(0.3, adaptive=True)
    torch.testing.assert_close(built.shares(), torch.full((3,), 0.3, dtype=torch.float64))
    with torch.no_grad():
        built.share_logit.copy_(torch.tensor([-50.0, 0.0, 50.0]))
    assert built.shares().tolist() == pytest.approx([LEAST, (LEAST + MOST) / 2, MOST])
    assert built.chosen(scores()).sum(-1)[0, 0].tolist() == [1, 3, 4]


def test_shares_and_all_scores_have_gradients():
    built, s = selector(0.3, adaptive=True), scores().requires_grad_()
    weights, _ = built(s)
    grads = torch.autograd.grad((weights * torch.randn_like(weights)).sum(), [s, *built.parameters()])
    assert all(g.isfinite().all() and (g != 0).all() for g in grads)


def test_a_change_of_places_does_not_jump():
    """A choice of 0 and 1 would: the two modes sound differently."""
    built = selector(0.3)
    torch.nn.init.zeros_(built.preference)
    values = torch.tensor([3.0, 2.0, 1.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0], dtype=torch.float64).expand(
        1, 1, 3, -1
    )
    sounds = torch.randn(10, dtype=torch.float64)
    heard = []
    for nudge in (-1e-9, 1e-9):
        weights, kept = built(values + nudge * torch.eye(10, dtype=torch.float64)[2])
        heard.append((weights * sounds[kept]).sum(-1))
        assert kept[0, 0, 0, 2] == (2 if nudge > 0 else 3)
    torch.testing.assert_close(*heard, atol=1e-8, rtol=0)
