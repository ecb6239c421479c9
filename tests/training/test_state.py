import random

import numpy as np
import pytest
import torch

from undula.training.state import kept_rng, load_tree, rng_state, save_tree, set_rng_state

CPU = torch.device("cpu")


def test_a_tree_comes_back_bit_for_bit(tmp_path):
    tree = {
        0: {"step": torch.tensor(3.0), "average": torch.randn(2, 3).t()},
        "groups": [{"lr": 0.1 + 0.2, "betas": (0.9, 0.99), "fused": True, "foreach": None, "params": [0, 1]}],
        "half": torch.randn(4).bfloat16(),
        "none": {},
    }
    save_tree(tree, tmp_path / "a.safetensors")
    back = load_tree(tmp_path / "a.safetensors")
    assert back["groups"] == tree["groups"]
    assert back["none"] == {}
    assert list(back) == list(tree)
    for a, b in (
        (back[0]["step"], tree[0]["step"]),
        (back[0]["average"], tree[0]["average"]),
        (back["half"], tree["half"]),
    ):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def test_what_is_neither_tensor_nor_plain_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot store a function"):
        save_tree({"a": lambda: 1}, tmp_path / "a.safetensors")


def test_an_optimizer_goes_on_from_its_saved_state_as_if_nothing_had_been(tmp_path):
    def make():
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 3)
        return layer, torch.optim.AdamW(layer.parameters(), fused=True)

    def step(layer, optimizer):
        layer(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    layer, optimizer = make()
    step(layer, optimizer)
    save_tree(optimizer.state_dict(), tmp_path / "a.safetensors")
    other, resumed = make()
    other.load_state_dict(layer.state_dict())
    resumed.load_state_dict(load_tree(tmp_path / "a.safetensors"))
    step(layer, optimizer)
    step(other, resumed)
    assert torch.equal(layer.weight, other.weight)


def draw():
    return random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item(), torch.randn(1).item()


def test_all_generators_go_on_from_a_saved_state(tmp_path):
    # One normal number leaves another in store, in NumPy and in Python alike.
    draw(), random.gauss(0, 1)
    save_tree(rng_state(CPU), tmp_path / "a.safetensors")
    wanted = [draw() for _ in range(3)], random.gauss(0, 1)
    set_rng_state(load_tree(tmp_path / "a.safetensors"), CPU)
    assert ([draw() for _ in range(3)], random.gauss(0, 1)) == wanted


def test_generators_are_as_before_after_the_block_even_when_it_fails():
    before = rng_state(CPU)
    wanted = draw()
    set_rng_state(before, CPU)
    with pytest.raises(RuntimeError, match="no"), kept_rng():
        fail_after_drawing()
    assert draw() == wanted


def fail_after_drawing():
    torch.manual_seed(9)
    draw()
    raise RuntimeError("no")
