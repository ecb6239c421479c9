"""Peaks beyond chance: equal to the definition, silent on chance and on what only resembles waves, awake to waves."""

import math

import numpy as np
import pytest
import torch

from tests.reference import surrogates as reference
from undula.ops.surrogates import (
    LEVEL,
    fringes,
    harmonic_series,
    is_causal,
    orders,
    prominence,
    row_autocorrelation,
    spectra,
)
from undula.ops.surrogates import centred as mean_free

STEPS = 64
LAG = (torch.arange(STEPS)[:, None] - torch.arange(STEPS)).float()


def random(seed):
    return torch.Generator().manual_seed(seed)


def tones(amplitudes, fundamental, rows=40, columns=64, noise=0.3, seed=0):
    """Rows of one sum of sines and noise; amplitudes by multiple of the fundamental."""
    t = torch.arange(columns) / columns
    sines = [a * torch.sin(2 * math.pi * fundamental * n * t + n) for n, a in enumerate(amplitudes, 1)]
    return torch.stack(sines).sum(0) + noise * torch.randn(rows, columns, generator=random(seed))


def harmonic(table):
    return harmonic_series(table).p_value <= LEVEL


def fringed(weights):
    return fringes(weights).p_value <= LEVEL


@pytest.mark.parametrize(("rows", "columns"), [(3, 17), (40, 24), (5, 32)])
@pytest.mark.parametrize("taper", [False, True])
def test_spectra_of_shuffled_tables_equal_the_definition(rows, columns, taper):
    table = torch.randn(rows, columns, dtype=torch.float64) + 3
    shuffled = orders(columns, 4)
    got = spectra(mean_free(table), shuffled, taper=taper)
    want = np.stack([reference.mean_power(table[:, order].numpy(), taper) for order in shuffled])
    np.testing.assert_allclose(got[:, 1:], want[:, 1:], rtol=1e-4, atol=1e-5 * want.max())
    assert torch.equal(shuffled[0], torch.arange(columns))
    assert all(torch.equal(order.sort()[0], torch.arange(columns)) for order in shuffled)


@pytest.mark.parametrize("columns", [16, 17, 33, 64])
def test_prominence_equals_the_definition(columns):
    power = torch.rand(5, columns // 2 + 1, dtype=torch.float64) ** 4
    want = np.stack([reference.prominence(p.numpy(), columns) for p in power])
    np.testing.assert_allclose(prominence(power, columns), want, rtol=1e-9)


@pytest.mark.parametrize("tolerance", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("columns", [16, 47, 64])
def test_the_series_is_the_best_of_all(columns, tolerance):
    for seed in range(4):
        series = harmonic_series(torch.randn(6, columns, generator=random(seed)), tolerance)
        want = reference.best_series(series.prominence.numpy(), columns, tolerance)
        assert min(series.prominence[b] for b in series.bins) == pytest.approx(want)


def test_the_tolerance_is_the_reach_of_a_member():
    """Peaks at 12, 23 and 36 are a series for a tolerance of a tenth, none for a tolerance of zero."""
    t = torch.arange(128) / 128
    table = sum(torch.sin(2 * math.pi * f * t) for f in (12, 23, 36)) + 0.2 * torch.randn(40, 128)
    assert harmonic_series(table, 0.1).bins == (12, 23, 36)
    assert harmonic_series(table, 0.1).p_value <= LEVEL
    assert harmonic_series(table, 0.0).p_value > LEVEL


@pytest.mark.parametrize(("rows", "columns"), [(40, 32), (16, 64), (1, 48)])
def test_gaussian_tables_are_not_harmonic(rows, columns):
    """The earlier code found harmonics in all of fifty."""
    assert sum(harmonic(torch.randn(rows, columns, generator=random(i))) for i in range(40)) <= 3


def test_tables_that_only_resemble_series_are_not_harmonic():
    others = {
        "a random walk": lambda i: torch.randn(1, 64, generator=random(i)).cumsum(1),
        "equal rows": lambda i: torch.randn(64, generator=random(i)) + 0.1 * torch.randn(20, 64, generator=random(99)),
        "loud columns": lambda i: torch.randn(20, 64) * (3 * torch.randn(64, generator=random(i))).exp(),
        "one tone": lambda i: tones((1,), 4 + i % 6, seed=i),
        "odd multiples": lambda i: tones((1, 0, 1 / 3), 4 + i % 6, seed=i),
    }
    found = {name: sum(harmonic(table(i)) for i in range(15)) for name, table in others.items()}
    assert max(found.values()) <= 2, found


@pytest.mark.parametrize("fundamental", [3, 5, 8])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_planted_series_are_found(fundamental, noise):
    for seed in range(5):
        series = harmonic_series(tones((1, 1 / 2, 1 / 3), fundamental, noise=noise, seed=seed))
        assert series.p_value <= LEVEL
        assert series.bins == (fundamental, 2 * fundamental, 3 * fundamental)


def test_the_same_table_has_the_same_answer_and_leaves_the_random_state_alone():
    table, state = torch.randn(8, 32), torch.get_rng_state()
    first, second = harmonic_series(table), harmonic_series(table)
    assert first.p_value == second.p_value
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("causal", [True, False])
def test_row_autocorrelation_equals_the_definition(causal):
    weights = torch.rand(2, 3, 13, 13, dtype=torch.float64)
    weights = weights.tril() if causal else weights
    assert is_causal(weights) is causal
    want = reference.row_autocorrelation(weights.numpy(), causal)
    np.testing.assert_allclose(row_autocorrelation(weights), want, atol=1e-12)
    assert torch.equal(row_autocorrelation(torch.ones(1, 1, 13, 13).tril()), torch.zeros(7, dtype=torch.float64))


@pytest.mark.parametrize("causal", [True, False])
def test_random_weights_have_no_fringes(causal):
    tables = [torch.rand(1, 2, STEPS, STEPS, generator=random(i)) for i in range(25)]
    assert sum(fringed(w.tril() if causal else w) for w in tables) <= 2


def test_weights_that_only_resemble_fringes_have_none():
    """Rows that share a random pattern, by key or by lag, vary less from each other than their shuffled copies.

    And where weights change slowly, low frequencies stand out of all others.
    """

    def noisy(table, seed):
        return (table + 0.02 * torch.rand(1, 2, STEPS, STEPS, generator=random(seed + 1000))).tril()

    others = {
        "keys that all prefer": lambda i: noisy(torch.rand(STEPS, generator=random(i)), i),
        "one random filter": lambda i: noisy(torch.rand(2 * STEPS, generator=random(i))[LAG.long()], i),
        "drift": lambda i: noisy(torch.randn(1, 2, STEPS, STEPS, generator=random(i)).cumsum(-1).abs(), i),
        "recent keys": lambda i: noisy(torch.exp(-LAG.clamp_min(0) / (2 + 2 * i)), i),
    }
    found = {name: sum(fringed(weights(i)) for i in range(15)) for name, weights in others.items()}
    assert max(found.values()) <= 2, found
    assert not fringed(torch.ones(1, 1, STEPS, STEPS).tril().cumsum(0).reciprocal().nan_to_num(posinf=0))


@pytest.mark.parametrize("period", [3, 5, 8, 12.5, 16])
@pytest.mark.parametrize("causal", [True, False])
def test_planted_fringes_are_found_with_their_period_and_depth(period, causal):
    noise = 0.2 * (torch.rand(1, 2, STEPS, STEPS, generator=random(3)) - 0.5)
    weights = 0.5 * (1 + 0.6 * torch.cos(2 * math.pi * LAG / period)) + noise
    found = fringes(weights.tril() if causal else weights)
    assert found.p_value <= LEVEL
    assert 48 / found.period == pytest.approx(48 / period, abs=0.6)
    assert found.depth == pytest.approx(0.6, abs=0.12)


def test_impossible_tables_are_refused():
    with pytest.raises(ValueError, match=r"shape \(4, 7\); f, 2 f and 3 f need 16 columns or more"):
        harmonic_series(torch.randn(4, 7))
    with pytest.raises(ValueError, match="harmonic_tolerance=0.5; wanted a share of f"):
        harmonic_series(torch.randn(4, 32), 0.5)
    with pytest.raises(ValueError, match="1 numbers that are not finite"):
        harmonic_series(torch.zeros(4, 32).fill_diagonal_(1).index_fill(1, torch.tensor(9), math.inf)[:1])
    with pytest.raises(ValueError, match="fringes need 22 positions or more"):
        fringes(torch.rand(1, 2, 21, 21))
