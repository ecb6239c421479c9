"""Evolution of wavelet bases: all candidates are measured on the same windows, the best proves itself on others."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from undula.files import write_flushed
from undula.optim.basis import BasisFunction

Losses = Callable[[BasisFunction], Sequence[float] | np.ndarray]
"""The loss of a basis on each window, in nats; always the same windows, and nothing drawn at random."""

STARTS = ("db2", "db3", "db4", "sym4", "coif1", "coif2")
"""Named wavelets that the first generation tries where they are no longer than the incumbent."""
STANDARD_ERRORS = 2.0
"""A basis is better when the mean improvement is above so many of its standard errors."""
FEWEST = 8
"""Windows that this takes: with fewer, chance passes more often than once in twenty."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of an evolution.

    Args:
        basis: the best candidate, or the incumbent where none was better on the windows that choose.
        applied: whether it is better than the incumbent, beyond noise, on windows that chose nothing.
        gain: mean improvement over the incumbent there, in nats; 0 where there was no other candidate.
        error: its standard error.
        windows: how many windows it was confirmed on.
        candidates: bases that were measured.
    """

    basis: BasisFunction
    applied: bool
    gain: float
    error: float
    windows: int
    candidates: int

    @property
    def verdict(self) -> str:
        """What happened, in one line."""
        if not self.windows:
            return f"kept the incumbent: none of {self.candidates} candidates was better where it was chosen"
        # Two digits of the error, at least four decimals.
        small = 0 < self.error < 1e-3
        digits = 1 - math.floor(math.log10(self.error)) if small else 4
        number = f"{-self.gain:+.{digits}f} ± {self.error:.{digits}f} nats on {self.windows} windows that chose nothing"
        if self.applied:
            return f"applied: {number}"
        return f"kept the incumbent: no candidate was better beyond noise (the best of {self.candidates}: {number})"


class HRFEvoController:
    """Evolves a population of bases from the incumbent: tournaments, crossover, mutation; the best survive as they are.

    Each generation's steps grow by 1.3 where more than a fifth of the children beat the best before them, and shrink
    by 0.8 where fewer do (Rechenberg's rule). All that is drawn comes from a generator of its own.

    Args:
        config: has `evolution_population` and `evolution_generations`: attributes or keys.
        incumbent: what the model has now; its genome decides how many angles there are.
        seed: of all draws.
        most_levels: also evolve levels, up to this many, and sparsity; None: they stay.
        mutation_rate: probability of each gene.
        crossover_rate: share of the children with two parents.
        step: standard deviation of the first moves, in radians.

    Raises:
        ValueError: for a configuration without these numbers, or a number out of range.

    Source: SpectralLLM, HRFEvo; Rechenberg, Evolutionsstrategie (1973), the step rule.
    """

    def __init__(
        self,
        config: Any,
        incumbent: BasisFunction | None = None,
        *,
        seed: int = 0,
        most_levels: int | None = None,
        mutation_rate: float = 0.15,
        crossover_rate: float = 0.7,
        step: float = 0.2,
    ) -> None:
        self.population_size = _count(config, "evolution_population", 2)
        self.generations = _count(config, "evolution_generations", 1)
        for name, rate in (("mutation_rate", mutation_rate), ("crossover_rate", crossover_rate)):
            if not 0 <= rate <= 1:
                raise ValueError(f"{name}={rate}; wanted a probability, 0 to 1")
        self.mutation_rate, self.crossover_rate, self.step = mutation_rate, crossover_rate, step
        self.most_levels, self.seed = most_levels, seed
        self.elite, self.tournament = max(1, self.population_size // 10), max(2, self.population_size // 10)
        self.generator = np.random.default_rng(seed)
        self.incumbent = (BasisFunction() if incumbent is None else incumbent).copy()
        self.incumbent.fitness = None
        self.history: list[dict[str, Any]] = []
        self.candidates = 0
        self.windows: int | None = None
        self.best = self.incumbent
        self.population = self._first()

    def evaluate_population(self, losses: Losses) -> None:
        """Measure everybody who has not been measured yet; the fitness is -mean loss. What `losses` raises goes on.

        A candidate whose loss is not finite has a fitness of -infinity.

        Raises:
            ValueError: when `losses` returns anything but one number for each of the same windows.
        """
        for basis in self.population:
            if basis.fitness is None:
                found = self._measured(basis, losses)
                basis.fitness = -float(found.mean()) if np.isfinite(found).all() else -math.inf
                self.candidates += 1
        self.best = max([self.best, *self.population], key=_fitness)

    def evolve_generation(self) -> dict[str, Any]:
        """Take note of a population that was measured, and put the next one in its place.

        Returns:
            generation (from 1), best_fitness, avg_fitness, std_fitness (of finite ones), fitness (of all), diversity
            (mean standard deviation of an angle, radians), step and best_basis.

        Raises:
            ValueError: when somebody has not been measured.
        """
        if any(basis.fitness is None for basis in self.population):
            raise ValueError("not everybody has a fitness; call evaluate_population first")
        ranked = sorted(self.population, key=_fitness, reverse=True)
        before = self.history[-1]["best_fitness"] if self.history else _fitness(self.population[0])
        stats = self._stats(ranked)
        self.history.append(stats)
        better = np.mean([_fitness(basis) > before for basis in self.population])
        self.step *= 1.3 if better > 0.2 else 0.8
        kept = [basis.copy() for basis in ranked[: self.elite]]
        for basis in kept:
            basis.age += 1
        self.population = kept + [self._child(ranked) for _ in range(self.population_size - len(kept))]
        return stats

    def run_evolution(self, losses: Losses, confirm: Losses, after: Callable[[], None] = lambda: None) -> Outcome:
        """Evolve for the generations that are left, and return what the best is worth beside the incumbent.

        The best of many always looks better where it was chosen. So it is compared on other windows, pair by pair, and
        has to be better by more than two standard errors of the mean difference.

        Args:
            losses: on the windows that choose.
            confirm: on windows that choose nothing, at least 8.
            after: called after each generation, to save the state.

        Raises:
            ValueError: when the incumbent's loss is not finite, or is another one than when the evolution began.
        """
        self._check_incumbent(losses)
        while len(self.history) < self.generations:
            self.evaluate_population(losses)
            self.evolve_generation()
            after()
        return self._confirmed(confirm)

    def get_best_basis(self) -> BasisFunction:
        """Return the fittest basis so far: the incumbent until somebody is fitter."""
        return self.best.copy()

    def state_dict(self) -> dict[str, Any]:
        """Return all that decides what comes next, as JSON knows it."""
        return {
            "settings": self._settings(),
            "generator": self.generator.bit_generator.state,
            "step": self.step,
            "candidates": self.candidates,
            "windows": self.windows,
            "incumbent": self.incumbent.to_dict(),
            "best": self.best.to_dict(),
            "population": [basis.to_dict() for basis in self.population],
            "history": self.history,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`, exactly.

        Raises:
            ValueError: when it is that of an evolution with other settings or another incumbent.
        """
        mine = {**self._settings(), "incumbent": self.incumbent.params}
        theirs = {**state["settings"], "incumbent": state["incumbent"]["params"]}
        wrong = [name for name, value in mine.items() if theirs.get(name) != value]
        if wrong:
            raise ValueError(
                f"the state is that of another evolution: {', '.join(f'{n}={theirs.get(n)!r}' for n in wrong)}; wanted "
                f"{', '.join(f'{n}={mine[n]!r}' for n in wrong)}: start anew in another folder"
            )
        self.generator.bit_generator.state = state["generator"]
        self.step, self.candidates, self.windows = state["step"], state["candidates"], state["windows"]
        self.incumbent, self.best = (BasisFunction.from_dict(state[name]) for name in ("incumbent", "best"))
        self.population = [BasisFunction.from_dict(values) for values in state["population"]]
        self.history = list(state["history"])

    def save_state(self, path: str | Path) -> None:
        """Write the state as JSON, whole or not at all."""
        write_flushed(Path(path), json.dumps(self.state_dict(), indent=1, allow_nan=False) + "\n")

    def load_state(self, path: str | Path) -> None:
        """Go on from a file of `save_state`; see `load_state_dict`."""
        self.load_state_dict(json.loads(Path(path).read_text(encoding="utf-8")))

    def _settings(self) -> dict[str, Any]:
        names = ("population_size", "generations", "mutation_rate", "crossover_rate", "most_levels", "seed")
        return {name: getattr(self, name) for name in names}

    def _first(self) -> list[BasisFunction]:
        """The incumbent, named wavelets that fit in its place, and mutants of it."""
        rows, room = self.incumbent.angles.shape
        same = {"levels": self.incumbent.levels, "sparsity": self.incumbent.sparsity}
        named = {name: _named(name) for name in STARTS if rows == 1 and len(_named(name)) <= room}
        padded = {name: [list(angles) + [0.0] * (room - len(angles))] for name, angles in named.items()}
        found = [BasisFunction(name, {"angles": angles, **same}) for name, angles in padded.items()]
        fitting = [basis for basis in found if not basis.same_as(self.incumbent)]
        first = [self.incumbent.copy(), *fitting][: self.population_size]
        return first + [self._mutant(self.incumbent) for _ in range(self.population_size - len(first))]

    def _mutant(self, basis: BasisFunction) -> BasisFunction:
        return basis.mutate(self.mutation_rate, generator=self.generator, step=self.step, most_levels=self.most_levels)

    def _child(self, ranked: list[BasisFunction]) -> BasisFunction:
        parent = self._winner(ranked)
        if self.generator.random() < self.crossover_rate:
            parent = parent.crossover(self._winner(ranked), generator=self.generator)
        return self._mutant(parent)

    def _winner(self, ranked: list[BasisFunction]) -> BasisFunction:
        """The best of a few that are drawn."""
        return ranked[int(self.generator.integers(len(ranked), size=self.tournament).min())]

    def _stats(self, ranked: list[BasisFunction]) -> dict[str, Any]:
        fitness = [_fitness(basis) for basis in ranked]
        finite = np.array([value for value in fitness if math.isfinite(value)] or [math.nan])
        angles = np.stack([basis.angles for basis in ranked])
        return {
            "generation": len(self.history) + 1,
            "best_fitness": fitness[0],
            "avg_fitness": float(finite.mean()),
            "std_fitness": float(finite.std()),
            "fitness": [value if math.isfinite(value) else None for value in fitness],
            "diversity": float(angles.std(axis=0).mean()),
            "step": self.step,
            "best_basis": ranked[0].to_dict(),
        }

    def _measured(self, basis: BasisFunction, losses: Losses) -> np.ndarray:
        found = losses(basis)
        if isinstance(found, Mapping) or np.ndim(found) != 1:
            raise ValueError(f"losses gave a {type(found).__name__}; wanted one number for each window")
        values = np.asarray(found, dtype=np.float64)
        if not len(values) or len(values) != (self.windows or len(values)):
            raise ValueError(f"losses of {len(values)} windows; wanted {self.windows or 'at least 1'}, always the same")
        self.windows = len(values)
        return values

    def _check_incumbent(self, losses: Losses) -> None:
        found = -float(self._measured(self.incumbent, losses).mean())
        if not math.isfinite(found):
            raise ValueError(f"the incumbent's loss is {-found}; wanted a model whose loss is finite")
        known = self.incumbent.fitness
        if known is not None and not math.isclose(known, found, rel_tol=1e-5):
            raise ValueError(
                f"the incumbent's loss is {-found}, and was {-known} when this evolution began; wanted the same model, "
                "the same windows and nothing drawn at random"
            )
        if known is None:
            self.incumbent.fitness = found
            for basis in self.population:
                if basis.same_as(self.incumbent):
                    basis.fitness = found

    def _confirmed(self, confirm: Losses) -> Outcome:
        if self.best.same_as(self.incumbent) or _fitness(self.best) <= _fitness(self.incumbent):
            return Outcome(
                basis=self.incumbent.copy(), applied=False, gain=0.0, error=0.0, windows=0, candidates=self.candidates
            )
        before, after = (np.asarray(confirm(basis), dtype=np.float64) for basis in (self.incumbent, self.best))
        if before.shape != after.shape or before.ndim != 1 or len(before) < FEWEST:
            raise ValueError(
                f"confirm gave losses {before.shape} and {after.shape}; wanted those of the same windows, {FEWEST} at "
                "least"
            )
        gain, error = paired(before, after)
        return Outcome(
            basis=self.best.copy(),
            applied=gain > STANDARD_ERRORS * error,
            gain=gain,
            error=error,
            windows=len(before),
            candidates=self.candidates,
        )


def paired(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Return the mean of before - after over pairs, and its standard error."""
    difference = before - after
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


@cache
def _named(name: str) -> tuple[float, ...]:
    return tuple(BasisFunction(name).angles[0])


def _fitness(basis: BasisFunction) -> float:
    return -math.inf if basis.fitness is None else basis.fitness


def _count(config: Any, name: str, least: int) -> int:
    value = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    if type(value) is not int or value < least:
        raise ValueError(f"{name}={value!r}; wanted a whole number, at least {least}, in the configuration")
    return value
