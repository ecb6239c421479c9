"""Scores of predictions against their definitions, and of nothing."""

import math

import numpy as np
import pytest
import torch

from tests.reference import scores as reference
from undula.ops.scores import accuracy, confusion, macro_f1, r_squared


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_the_definition(seed):
    draw = np.random.default_rng(seed)
    # Class 5 is never true nor told, class 4 never told: the former is left out of the mean, the latter counts as 0.
    truth, told = draw.integers(0, 5, 40).tolist(), draw.integers(0, 4, 40).tolist()
    counts = confusion(torch.tensor(truth), torch.tensor(told), 6)
    assert counts[2, 3] == sum((a, b) == (2, 3) for a, b in zip(truth, told, strict=True))
    assert accuracy(counts) == pytest.approx(reference.accuracy(truth, told), abs=1e-15)
    assert macro_f1(counts) == pytest.approx(reference.macro_f1(truth, told), abs=1e-15)
    numbers = draw.normal(size=(2, 40))
    got = r_squared(*torch.from_numpy(numbers))
    assert got == pytest.approx(reference.r_squared(*numbers.tolist()), abs=1e-12)


def test_the_score_of_nothing_is_not_a_number():
    nothing = confusion(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), 3)
    assert math.isnan(accuracy(nothing))
    assert math.isnan(macro_f1(nothing))
    assert math.isnan(r_squared(torch.zeros(0), torch.zeros(0)))
    assert math.isnan(r_squared(torch.ones(3), torch.rand(3)))
