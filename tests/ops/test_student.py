"""Student's distribution as SciPy has it, and intervals of means that hold the mean as often as they say."""

import math

import numpy as np
import pytest
from scipy import stats

from undula.ops.student import mean_interval, student_quantile


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 8, 29, 100])
def test_quantiles_are_those_of_scipy(level, freedom):
    assert student_quantile(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-9)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_an_interval_holds_the_mean_as_often_as_it_says(count):
    draws = np.random.default_rng(0).normal(1.5, 2.0, (1500, count))
    held = np.mean([low < 1.5 < high for low, high in map(mean_interval, draws.tolist())])
    assert held == pytest.approx(0.95, abs=0.02)


def test_equal_values_have_no_spread_and_one_says_nothing():
    assert mean_interval([0.0, 0.0, 0.0]) == (0.0, 0.0)
    assert all(math.isnan(end) for end in mean_interval([1.0]))
    with pytest.raises(ValueError, match=r"level=1.0, freedom=3"):
        student_quantile(1.0, 3)
