"""The perplexity validator can fail: on wrong ways to compute it, on wrong values, on trends that go nowhere."""

import math

import pytest
import torch

from undula.validation.perplexity import WRONG, PerplexityValidator, faults, project_perplexity


def test_the_packages_own_way_is_right():
    assert faults(project_perplexity) == []
    assert PerplexityValidator().test_perplexity_calculation() is True


@pytest.mark.parametrize("wrong", [*WRONG, lambda batches: math.nan, lambda batches: 99999.0])
def test_wrong_ways_are_caught(wrong):
    assert faults(wrong)
    assert PerplexityValidator().test_perplexity_calculation(wrong) is False


def test_a_mistake_that_no_case_shows_fails_the_test(monkeypatch):
    monkeypatch.setattr("undula.validation.perplexity.WRONG", (project_perplexity,))
    assert PerplexityValidator().test_perplexity_calculation() is False


def test_weights_count_in_every_method():
    found = PerplexityValidator().compare_perplexity_methods(torch.tensor([2.0, 4.0]), torch.tensor([3, 1]))
    assert found["correct_exp_of_avg"] == pytest.approx(math.exp(2.5))
    assert found["geometric_mean"] == pytest.approx(math.exp(2.5))
    assert found["incorrect_avg_of_exp"] == pytest.approx((3 * math.exp(2) + math.exp(4)) / 4)
    with pytest.raises(ValueError, match="2 losses and 1 token counts"):
        PerplexityValidator().compare_perplexity_methods([1.0, 2.0], [1])
    with pytest.raises(ValueError, match="0 losses"):
        PerplexityValidator().compare_perplexity_methods([])


@pytest.mark.parametrize(
    ("perplexity", "vocabulary", "quality"),
    [
        (math.nan, 1000, "invalid"),
        (math.inf, 1000, "invalid"),
        (0.5, 1000, "invalid"),
        (49.0, 50, "no better than chance"),
        (49.0, 50000, "excellent"),
        (1.01, 1000, "suspicious: look for a leak"),
        (15.5, 1000, "excellent"),
        (15.5, None, "unknown"),
    ],
)
def test_interpretation_is_relative_to_chance(perplexity, vocabulary, quality):
    assert PerplexityValidator().get_perplexity_interpretation(perplexity, vocab_size=vocabulary)["quality"] == quality


@pytest.mark.parametrize(
    ("history", "trend"),
    [
        ([100, 80, 60, 50], "improving"),
        ([50, 60, 80, 100], "degrading"),
        ([100, 50, 60, 40, 99], "unstable"),
        ([10.0, 10.01, 10.0], "stable"),
        ([10.0, math.nan], "invalid"),
        ([10.0], "insufficient_data"),
    ],
)
def test_trends(history, trend):
    assert PerplexityValidator().analyze_perplexity_trends(history)["trend"] == trend


def test_convergence_is_told_from_ten_values_on():
    flat = [100.0 / (1 + i) for i in range(10)] + [10.0] * 6
    falling = [100.0 * 0.9**i for i in range(12)]
    validator = PerplexityValidator()
    assert validator.analyze_perplexity_trends(flat)["convergence"] == "converged"
    assert validator.analyze_perplexity_trends(falling)["convergence"] == "converging"
    assert "convergence" not in validator.analyze_perplexity_trends(falling[:9])
