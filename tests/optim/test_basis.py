"""A basis as a genome: always orthogonal, whole levels, and no fitness that belongs to its parents."""

import json

import numpy as np
import pytest
import pywt
import torch

from undula.optim.basis import BasisFunction


def draws(seed=0):
    return np.random.default_rng(seed)


def descendants(count=30):
    """Children of children, of every kind."""
    draw, basis, other = draws(), BasisFunction("db4"), BasisFunction("sym4")
    for number in range(count):
        basis = basis.mutate(0.5, generator=draw, step=0.7, most_levels=4)
        if number % 3 == 0:
            basis = basis.crossover(other, generator=draw)
        yield basis


def test_a_name_is_the_true_wavelet():
    for name in ("db2", "db4", "sym4", "coif2"):
        (taps,) = BasisFunction(name).filters()
        low = torch.tensor(pywt.Wavelet(name).rec_lo, dtype=torch.float64)
        torch.testing.assert_close(taps[0], low, atol=1e-9, rtol=0)
    # Families were one and the same transform, so that a choice among them chose nothing.
    assert not torch.allclose(BasisFunction("db4").filters(), BasisFunction("sym4").filters(), atol=0.1)


def test_every_descendant_is_orthogonal_and_has_whole_levels():
    """Levels became 2.93, and filters that were learned freely reconstructed nothing."""
    for basis in descendants():
        (taps,) = basis.filters().numpy()
        for shift in range(taps.shape[1] // 2):
            products = taps[:, 2 * shift :] @ taps[:, : taps.shape[1] - 2 * shift].T
            assert np.abs(products - np.eye(2) * (shift == 0)).max() < 1e-12
        assert type(basis.levels) is int
        assert 1 <= basis.levels <= 4
        assert 0 <= basis.sparsity < 1


def test_a_changed_basis_has_not_been_measured():
    """Mutated copies kept the fitness of their parents."""
    basis = BasisFunction("db3", fitness=-1.5, age=2)
    assert basis.copy().fitness == -1.5
    child = basis.copy().mutate(generator=draws())
    assert child.fitness is None
    assert (child.age, basis.fitness) == (0, -1.5)
    assert basis.crossover(BasisFunction("db3", fitness=-1.0), generator=draws()).fitness is None


def test_one_angle_moves_at_least_and_structure_only_when_asked():
    basis = BasisFunction("db4")
    moved = [basis.mutate(0.0, generator=draws(seed)) for seed in range(20)]
    assert [int((child.angles != basis.angles).sum()) for child in moved] == [1] * 20
    free = [basis.mutate(1.0, generator=draws(seed), most_levels=5) for seed in range(40)]
    assert {child.levels for child in free} == {2, 4}
    assert all((child.angles != basis.angles).all() for child in free)
    kept = [basis.mutate(1.0, generator=draws(seed)) for seed in range(20)]
    assert {(child.levels, child.sparsity) for child in kept} == {(3, 0.0)}


def test_a_child_lies_between_its_parents():
    one, other = BasisFunction("db4", {"levels": 2}), BasisFunction("sym4", {"levels": 5, "sparsity": 0.5})
    draw = draws()
    levels = set()
    for _ in range(20):
        child = one.crossover(other, generator=draw)
        share = (child.angles - other.angles) / (one.angles - other.angles)
        assert share == pytest.approx(np.full_like(share, share.flat[0]), abs=1e-9)
        assert 0 <= share.flat[0] <= 1
        assert child.sparsity == pytest.approx(0.5 * (1 - share.flat[0]))
        levels.add(child.levels)
    assert levels == {2, 5}


def test_the_same_draws_make_the_same_basis():
    children = [BasisFunction("db4").mutate(0.5, generator=draws(3)).params for _ in range(2)]
    assert children[0] == children[1]


@pytest.mark.parametrize("fitness", [None, -1.25, float("-inf")])
def test_plain_data_and_back(fitness):
    basis = BasisFunction("sym4", {"levels": 2, "sparsity": 0.25}, fitness=fitness, age=3)
    back = BasisFunction.from_dict(json.loads(json.dumps(basis.to_dict(), allow_nan=False)))
    assert back.same_as(basis)
    assert (back.type_name, back.fitness, back.age) == ("sym4", fitness, 3)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("db4x", {}, "unknown wavelet 'db4x'; did you mean"),
        ("bior2.2", {}, "wanted orthogonal ones"),
        ("db1", {}, "Haar's wavelet has no angle"),
        ("db4", {"level": 3}, "unknown parameter of a basis 'level'; did you mean 'levels'"),
        ("db4", {"levels": 2.93}, "levels=2.93; wanted a whole number"),
        ("db4", {"levels": 0}, "levels=0; wanted a whole number"),
        ("db4", {"sparsity": 1.0}, "sparsity=1.0; wanted a share"),
        ("db4", {"angles": [[0.1], [0.1, 0.2]]}, r"rows of \[1, 2\] angles"),
        ("db4", {"angles": [[float("nan")]]}, "wanted finite numbers"),
    ],
)
def test_mistakes_are_named(name, params, message):
    with pytest.raises(ValueError, match=message):
        BasisFunction(name, params)


def test_impossible_draws_are_refused():
    with pytest.raises(ValueError, match=r"rate=1\.5"):
        BasisFunction().mutate(1.5, generator=draws())
    with pytest.raises(ValueError, match="step=0"):
        BasisFunction().mutate(generator=draws(), step=0)
    with pytest.raises(ValueError, match="parents of one shape"):
        BasisFunction("db2").crossover(BasisFunction("db4"), generator=draws())
