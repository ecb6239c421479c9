"""The conditions that conftest.py sets: annotations are checked as the code runs, everywhere in undula."""

import importlib
import random
import sys

import jaxtyping
import numpy as np
import pytest
import torch

from tests.checking import CHECKS, check_again

CHECKED = '''
"""A module as undula's are."""

from dataclasses import dataclass
from typing import Self

from jaxtyping import Float
from torch import Tensor, nn


def mix(x: Float[Tensor, "B T"], y: Float[Tensor, "B S"], scale: float = 1.0) -> Float[Tensor, "B"]:
    return scale * (x.sum(1) + y.sum(1))


def wrong(x: Float[Tensor, "B T"]) -> Float[Tensor, "T B"]:
    return x


class Layer(nn.Module):
    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return x


@dataclass(frozen=True, kw_only=True)
class Options:
    depth: int = 1

    def deeper(self, by: int) -> Self:
        return type(self)(depth=self.depth + by)

    @classmethod
    def given(cls, depth: int | None) -> Self | None:
        return None if depth is None else cls(depth=depth)
'''


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Load a module that stands inside the package, late, as a recipe or an extra is."""
    import undula

    (tmp_path / "looked_at.py").write_text(CHECKED)
    monkeypatch.setattr(undula, "__path__", [*undula.__path__, str(tmp_path)])
    yield importlib.import_module("undula.looked_at")
    del sys.modules["undula.looked_at"], undula.looked_at


def test_right_shapes_pass(checked):
    x, y = torch.ones(2, 3), torch.ones(2, 5)
    assert torch.equal(checked.mix(x, y, 2), torch.tensor([16.0, 16.0]))
    assert torch.equal(checked.Layer()(x[..., None]), x[..., None])
    assert checked.Options(depth=3).deeper(by=1) == checked.Options.given(4)
    assert checked.Options.given(None) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.mix(torch.ones(2, 3), torch.ones(4, 5)),
        lambda m: m.mix(torch.ones(2, 3), torch.ones(2)),
        lambda m: m.mix(torch.ones(2, 3).long(), torch.ones(2, 5)),
        lambda m: m.mix(torch.ones(2, 3), torch.ones(2, 5), "1"),
        lambda m: m.wrong(torch.ones(2, 3)),
        lambda m: m.Layer()(torch.ones(2, 3)),
        lambda m: m.Options(depth="3"),
        lambda m: m.Options.given("3"),
    ],
    ids=["axes", "too few axes", "wrong dtype", "wrong type", "wrong result", "method", "dataclass", "class method"],
)
def test_wrong_shapes_and_types_are_refused(checked, call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call(checked)


def test_the_first_calls_of_each_test_are_checked(checked):
    for _ in range(CHECKS // 2):
        checked.mix(torch.ones(2, 3), torch.ones(2, 5))
    assert checked.Layer()(torch.ones(2, 3)).shape == (2, 3)
    check_again()
    with pytest.raises(jaxtyping.TypeCheckError):
        checked.Layer()(torch.ones(2, 3))


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_starts_from_the_same_random_state(turn):
    drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))
    assert drawn == pytest.approx((0.8444218515250481, 0.5488135039273248, 0.49625658988952637), abs=0)


def test_torch_runs_one_thread_and_repeatable_algorithms():
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
