"""Evolution finds a planted basis, keeps the incumbent where there is nothing to find, and goes on exactly."""

import hashlib
import json
import types

import numpy as np
import pytest
import pywt

from undula.optim.basis import BasisFunction
from undula.optim.evolution import HRFEvoController, paired

SIZE = {"evolution_population": 20, "evolution_generations": 10}


def taps_of(angles):
    """A lattice of rotations, by its definition: the low pass of a row of angles."""
    first = np.pi / 4 + angles.sum()
    low, high = np.array([np.cos(first), np.sin(first)]), np.array([np.sin(first), -np.cos(first)])
    for angle in angles:
        kept, delayed = np.append(low, [0, 0]), np.append([0, 0], high)
        low, high = np.cos(angle) * kept + np.sin(angle) * delayed, np.cos(angle) * delayed - np.sin(angle) * kept
    return low, high


def matrix(angles, size, levels):
    """All coefficients of a periodic orthogonal transform as rows: a (size, size) orthogonal matrix."""
    low, high = taps_of(angles)
    rows, found = np.eye(size), []
    for _ in range(levels):
        half = len(rows) // 2
        index = (2 * np.arange(half)[:, None] + np.arange(len(low))) % len(rows)
        found.append(np.einsum("k,nks->ns", high, rows[index]))
        rows = np.einsum("k,nks->ns", low, rows[index])
    return np.concatenate([*found, rows])


def planted(seed, angles, windows=24, size=32, levels=2, kept=3):
    """Signals that are sparse in the basis of some angles, with a little noise."""
    draw = np.random.default_rng(seed)
    transform = matrix(angles, size, levels)
    coefficients = np.zeros((windows, size))
    for row in coefficients:
        row[draw.choice(size, kept, replace=False)] = draw.standard_normal(kept) + 2
    return coefficients @ transform + 0.02 * draw.standard_normal((windows, size))


def tails(signals, levels=2, kept=3):
    """The loss of a basis on signals: the log of what its largest coefficients leave out, for each signal."""

    def losses(basis):
        found = np.sort(np.abs(signals @ matrix(basis.angles[0], signals.shape[1], levels).T), axis=1)
        return 0.5 * np.log((found[:, :-kept] ** 2).sum(1))

    return losses


def noise(seed, windows=16, spread=1.0):
    """Losses of bases that are all equally good: noise that depends on genome and window alone."""

    def losses(basis):
        genome = hashlib.blake2b(basis.angles.tobytes() + bytes([seed % 256, seed // 256]), digest_size=8).digest()
        return 2 + spread * np.random.default_rng(int.from_bytes(genome, "little")).standard_normal(windows)

    return losses


def controller(incumbent=None, **more):
    size = {**SIZE, **{k: more.pop(k) for k in list(more) if k in SIZE}}
    return HRFEvoController(size, incumbent, **more)


def test_the_planted_transform_is_orthogonal_and_the_named_one():
    """What the tests below rest on."""
    wanted = matrix(BasisFunction("db4").angles[0], 32, 1)
    assert np.abs(wanted @ wanted.T - np.eye(32)).max() < 1e-12
    signal = np.random.default_rng(0).standard_normal(32)
    ours = np.sort(np.abs(wanted @ np.roll(signal, 1)))  # theirs begin one sample earlier
    theirs = np.sort(np.abs(np.concatenate(pywt.dwt(signal, "db4", mode="periodization"))))
    assert np.abs(ours - theirs).max() < 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_basis_in_which_the_data_are_sparse(seed):
    """A change of the basis changed no output, every fitness was 1 / 100, and the ranking was noise."""
    truth = BasisFunction("db3").angles[0] + np.random.default_rng(seed).normal(0, 0.3, 2)
    choose, confirm = (tails(planted(10 * seed + part, truth)) for part in (1, 2))
    evolution = controller(BasisFunction("db3"), seed=seed, evolution_generations=25)
    outcome = evolution.run_evolution(choose, confirm)
    exact = BasisFunction("db3", {"angles": truth[None]})
    assert outcome.applied
    assert outcome.gain > 0.5 * (confirm(BasisFunction("db3")) - confirm(exact)).mean() > 0.1
    assert np.abs(np.abs(taps_of(outcome.basis.angles[0])[0]) - np.abs(taps_of(truth)[0])).max() < 0.15
    fitness = [generation["best_fitness"] for generation in evolution.history]
    assert fitness == sorted(fitness)
    assert len(set(evolution.history[0]["fitness"])) > 10


def test_where_all_are_equal_a_change_is_rare():
    """The best of many on the windows that chose it always looks better: there it would be applied every time."""
    applied, naive = 0, 0
    for seed in range(200):
        evolution = controller(BasisFunction("db3"), seed=seed, evolution_population=12, evolution_generations=2)
        choose, confirm = noise(2 * seed), noise(2 * seed + 1)
        outcome = evolution.run_evolution(choose, confirm)
        applied += outcome.applied
        gain, error = paired(choose(evolution.incumbent), choose(evolution.get_best_basis()))
        naive += gain > 2 * error
    assert applied <= 0.05 * 200
    assert naive > 0.2 * 200


def test_the_incumbent_stays_when_it_is_the_best():
    centre = BasisFunction("db3").angles

    def losses(basis):
        return np.full(8, 1 + np.abs(basis.angles - centre).sum())

    outcome = controller(BasisFunction("db3")).run_evolution(losses, losses)
    assert not outcome.applied
    assert outcome.basis.same_as(BasisFunction("db3"))
    assert outcome.verdict == "kept the incumbent: none of 181 candidates was better where it was chosen"


def test_the_verdict_of_a_change_has_its_number():
    def losses(basis):
        return np.array([0.1, -0.1] * 4) + 1 - 0.01 * (basis.type_name == "sym4")

    def unpaired(basis):
        return losses(basis) + np.array([0.001, -0.001] * 4) * (basis.type_name == "sym4")

    outcome = controller(BasisFunction("db4"), seed=1).run_evolution(losses, unpaired)
    # Windows differ by 0.1, ten times the gain; pairs do not.
    assert outcome.gain == pytest.approx(0.01)
    assert outcome.error == pytest.approx(0.001 * (8 / 7) ** 0.5 / 8**0.5)
    assert outcome.verdict == "applied: -0.01000 ± 0.00038 nats on 8 windows that chose nothing"


def test_population_and_generations_are_those_of_the_configuration():
    """population_size=5 gave 20."""
    evolution = HRFEvoController(types.SimpleNamespace(evolution_population=5, evolution_generations=3))
    assert (len(evolution.population), evolution.generations) == (5, 3)
    outcome = evolution.run_evolution(noise(0), noise(1))
    assert [len(generation["fitness"]) for generation in evolution.history] == [5, 5, 5]
    # The best is not measured again: its loss on the same windows is what it was.
    assert outcome.candidates == 4 + 4 + 4
    assert [generation["generation"] for generation in evolution.history] == [1, 2, 3]


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_saved_evolution_goes_on_exactly(tmp_path, stop):
    def begun():
        return controller(BasisFunction("db4"), seed=5, most_levels=3, evolution_population=6, evolution_generations=5)

    whole = begun()
    want = whole.run_evolution(noise(0), noise(1))
    first, saved = begun(), tmp_path / "state.json"

    def save():
        first.save_state(saved)
        if len(first.history) == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run_evolution(noise(0), noise(1), save)
    second = begun()
    second.load_state(saved)
    assert len(second.history) == stop
    got = second.run_evolution(noise(0), noise(1))
    assert json.dumps(second.state_dict()) == json.dumps(whole.state_dict())
    assert (got.verdict, got.basis.to_dict()) == (want.verdict, want.basis.to_dict())


def test_another_evolution_s_state_is_refused():
    state = controller(seed=1).state_dict()
    with pytest.raises(ValueError, match=r"seed=1; wanted seed=2: start anew"):
        controller(seed=2).load_state_dict(state)
    with pytest.raises(ValueError, match="another evolution: incumbent="):
        controller(BasisFunction("sym4"), seed=1).load_state_dict(state)


def test_a_loss_that_is_drawn_anew_each_time_is_refused():
    """Fitness was that of dropout: one call apart, the same basis had another one."""
    evolution, draw = controller(), np.random.default_rng(0)
    evolution.run_evolution(noise(0), noise(1))
    with pytest.raises(ValueError, match="wanted the same model, the same windows and nothing drawn"):
        evolution.run_evolution(lambda basis: draw.standard_normal(16) + 2, noise(1))


def test_a_candidate_that_is_not_finite_is_the_worst_and_an_error_goes_on():
    incumbent = BasisFunction("db4")

    def broken(basis):
        return np.full(8, 1.0 if basis.same_as(incumbent) else np.nan)

    evolution = controller(incumbent, evolution_population=4, evolution_generations=2)
    assert not evolution.run_evolution(broken, broken).applied
    assert evolution.history[0]["fitness"] == [-1.0, None, None, None]
    json.dumps(evolution.state_dict(), allow_nan=False)

    def failing(basis):
        raise RuntimeError("broken model")

    with pytest.raises(RuntimeError, match="broken model"):
        controller().run_evolution(failing, failing)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        # A dictionary of names that nobody read gave every basis the same fitness.
        (lambda basis: {"fitness": 0.5, "loss": 2.0}, "losses gave a dict; wanted one number for each window"),
        (lambda basis: 2.0, "losses gave a float; wanted one number"),
        (lambda basis: [], "losses of 0 windows"),
        (lambda basis: [np.nan] * 8, "the incumbent's loss is nan"),
    ],
)
def test_losses_that_are_none(losses, message):
    with pytest.raises(ValueError, match=message):
        controller().run_evolution(losses, losses)


def test_windows_are_always_the_same_and_enough():
    sizes = iter([8, 8, 9])
    with pytest.raises(ValueError, match="losses of 9 windows; wanted 8, always the same"):
        controller().run_evolution(lambda basis: np.ones(next(sizes)), noise(1))
    with pytest.raises(ValueError, match="confirm gave losses"):
        controller().run_evolution(noise(0), noise(1, windows=7))


def test_generations_need_everybody_measured():
    evolution = controller()
    with pytest.raises(ValueError, match="call evaluate_population first"):
        evolution.evolve_generation()
    evolution.evaluate_population(noise(0))
    stats = evolution.evolve_generation()
    assert stats["best_fitness"] == max(stats["fitness"])
    assert stats["avg_fitness"] == pytest.approx(np.mean(stats["fitness"]))
    assert BasisFunction.from_dict(stats["best_basis"]).same_as(evolution.get_best_basis())


@pytest.mark.parametrize(
    ("config", "more", "message"),
    [
        ({"evolution_population": 1, "evolution_generations": 1}, {}, "evolution_population=1; wanted a whole number"),
        ({"evolution_generations": 1}, {}, "evolution_population=None"),
        ({"evolution_population": 4, "evolution_generations": 0}, {}, "evolution_generations=0"),
        (SIZE, {"mutation_rate": 2.0}, "mutation_rate=2.0; wanted a probability"),
    ],
)
def test_bad_settings(config, more, message):
    with pytest.raises(ValueError, match=message):
        HRFEvoController(config, **more)
