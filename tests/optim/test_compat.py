"""Earlier names give today's optimizers, and every argument is read."""

import copy

import pytest
import torch
from torch import nn

from undula.optim.compat import ResonantGradientDescent, create_physics_optimizer
from undula.optim.wave_native import WaveNativeOptimizer


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 6), nn.LayerNorm(6))


def walk(optimizer, model, steps):
    """Return the learning rates of some steps."""
    rates = []
    for _ in range(steps):
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        rates += [group["lr"] for group in optimizer.param_groups[:1]]
    return rates


def test_the_former_optimizer_warns_when_it_is_constructed_and_is_the_present_one():
    old, new = small(), small()
    with pytest.warns(DeprecationWarning, match="ResonantGradientDescent is deprecated; use WaveNativeOptimizer"):
        resonant = ResonantGradientDescent(old.parameters(), 0.1, 0.2, 0.5, 0.3)
    walk(resonant, old, 3)
    walk(WaveNativeOptimizer(new.parameters(), 0.1, 0.2, 0.5, 0.3), new, 3)
    for a, b in zip(old.parameters(), new.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_kind_and_its_options():
    optimizer = create_physics_optimizer(small(), lr=2e-3, resonance_strength=0.4, weight_decay=0.2)
    assert type(optimizer) is WaveNativeOptimizer
    first = optimizer.param_groups[0]
    assert (first["lr"], first["coherence_weight"], first["weight_decay"], first["refresh"]) == (2e-3, 0.4, 0.2, 1)
    assert [group["coherent"] for group in optimizer.param_groups] == [True, False, False]
    adamw = create_physics_optimizer(small(), lr=2e-3, use_resonance=False, weight_decay=0.2)
    assert type(adamw) is torch.optim.AdamW
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.2, 0.0]


@pytest.mark.parametrize("resonance", [True, False])
def test_the_learning_rate_warms_up(resonance):
    model = small()
    optimizer = create_physics_optimizer(model, lr=0.1, use_resonance=resonance, warmup_steps=4)
    assert walk(optimizer, model, 6) == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])
    optimizer.param_groups[0]["lr"] = 0.01
    assert walk(optimizer, model, 1) == [0.01]  # what a schedule sets after the warm-up stays


def test_without_warm_up_the_first_step_is_whole():
    model = small()
    assert walk(create_physics_optimizer(model, lr=0.1, warmup_steps=0), model, 1) == [0.1]
    with pytest.raises(ValueError, match="warmup_steps=-1"):
        create_physics_optimizer(model, warmup_steps=-1)


@pytest.mark.parametrize("resonance", [True, False])
def test_a_resumed_run_warms_up_from_where_it_was(resonance):
    model = small()
    first = create_physics_optimizer(model, lr=0.1, use_resonance=resonance, warmup_steps=4)
    walk(first, model, 2)
    second = create_physics_optimizer(model, lr=0.1, use_resonance=resonance, warmup_steps=4)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert walk(second, model, 3) == pytest.approx([0.075, 0.1, 0.1])
