"""A wavelet basis as a genome: rotation angles, of which every value is an exact orthogonal wavelet."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from undula.names import unknown_name
from undula.nn.wavelet_basis import angle_rows
from undula.ops.wavelet_filters import lattice_filters

GENES = ("angles", "levels", "sparsity")
SPARSEST = 0.95
"""Mutation goes no further."""


class BasisFunction:
    """An orthogonal wavelet basis: angles (n, K) of n wavelets, levels of the tree, and sparsity.

    It is never changed: what mutates or crosses it returns another one, which nobody has measured yet.

    Args:
        type_name: the named wavelet that it begins with, or descends from.
        params: any of `angles` (rows of radians; default: those of the name), `levels` (default 3) and `sparsity`, the
            share of the coefficients that is left out, from 0 (the default) to below 1.
        fitness: -mean loss in nats, higher is better; None: not measured.
        age: generations that it has lived through.

    Raises:
        ValueError: for an unknown parameter, a wavelet without angles, rows of different lengths, or a number out of
            range.

    Source: SpectralLLM, evolution of bases; Vaidyanathan and Hoang, IEEE ASSP 36 (1988) 81 (the lattice).
    """

    def __init__(
        self,
        type_name: str = "db4",
        params: Mapping[str, Any] | None = None,
        *,
        fitness: float | None = None,
        age: int = 0,
    ) -> None:
        given = dict(params or {})
        for name in given:
            if name not in GENES:
                raise unknown_name("parameter of a basis", name, GENES)
        self.type_name, self.fitness, self.age = type_name, fitness, age
        self.angles = _rows(given["angles"] if "angles" in given else angle_rows((type_name,)), type_name)
        self.levels, self.sparsity = given.get("levels", 3), float(given.get("sparsity", 0.0))
        if type(self.levels) is not int or self.levels < 1:
            raise ValueError(f"levels={self.levels!r}; wanted a whole number, at least 1")
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity={self.sparsity}; wanted a share from 0 to below 1")

    @property
    def params(self) -> dict[str, Any]:
        """The genes as plain data."""
        return {"angles": self.angles.tolist(), "levels": self.levels, "sparsity": self.sparsity}

    def filters(self) -> Float[Tensor, "n 2 taps"]:
        """Return the filters of each wavelet, low pass first, in float64: orthogonal whatever the angles are."""
        return torch.stack([lattice_filters(torch.from_numpy(row)) for row in self.angles])

    def mutate(
        self,
        rate: float = 0.15,
        *,
        generator: np.random.Generator,
        step: float = 0.2,
        most_levels: int | None = None,
    ) -> "BasisFunction":
        """Return a basis of which each angle has moved with probability `rate`, and one of them in any case.

        Args:
            rate: probability of each gene, 0 to 1.
            generator: what is drawn from.
            step: standard deviation of a move, in radians; of the sparsity, which moves by as much at most, a share.
            most_levels: levels (by one, up to this) and sparsity move, too; None: they stay.

        Raises:
            ValueError: for a rate outside of 0 to 1, or a step that is not positive.
        """
        if not 0 <= rate <= 1 or not step > 0:
            raise ValueError(f"rate={rate}, step={step}; wanted a probability, and a positive step")
        moved = generator.random(self.angles.shape) < rate
        moved.flat[generator.integers(moved.size)] = True
        angles = np.where(moved, self.angles + step * generator.standard_normal(self.angles.shape), self.angles)
        levels, sparsity = self.levels, self.sparsity
        if most_levels is not None:
            if generator.random() < rate:
                levels = int(np.clip(levels + generator.choice((-1, 1)), 1, most_levels))
            if generator.random() < rate:
                sparsity = float(np.clip(sparsity + step * generator.standard_normal(), 0.0, SPARSEST))
        return self._with(angles, levels, sparsity)

    def crossover(self, other: "BasisFunction", *, generator: np.random.Generator) -> "BasisFunction":
        """Return a child: angles and sparsity a random mean of both parents' (orthogonal, too), levels of one of them.

        Raises:
            ValueError: for parents with other numbers of angles.
        """
        if other.angles.shape != self.angles.shape:
            raise ValueError(f"angles {self.angles.shape} and {other.angles.shape}; wanted parents of one shape")
        share = generator.random()
        levels = self.levels if generator.random() < 0.5 else other.levels
        angles = share * self.angles + (1 - share) * other.angles
        return self._with(angles, levels, share * self.sparsity + (1 - share) * other.sparsity)

    def copy(self) -> "BasisFunction":
        """Return the same basis, with its fitness and age."""
        return BasisFunction(self.type_name, self.params, fitness=self.fitness, age=self.age)

    def to_dict(self) -> dict[str, Any]:
        """Return type_name, params, fitness and age as JSON knows them; a fitness of -infinity as text."""
        fitness = self.fitness if self.fitness is None or np.isfinite(self.fitness) else str(self.fitness)
        return {"type_name": self.type_name, "params": self.params, "fitness": fitness, "age": self.age}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BasisFunction":
        """Return the basis that `to_dict` described."""
        fitness = values.get("fitness")
        return cls(
            values["type_name"],
            values["params"],
            fitness=None if fitness is None else float(fitness),
            age=values.get("age", 0),
        )

    def same_as(self, other: "BasisFunction") -> bool:
        """Return whether all genes are equal."""
        return self.params == other.params

    def _with(self, angles: np.ndarray, levels: int, sparsity: float) -> "BasisFunction":
        return BasisFunction(self.type_name, {"angles": angles, "levels": levels, "sparsity": sparsity})


def _rows(angles: Sequence[Sequence[float]] | np.ndarray, type_name: str) -> np.ndarray:
    lengths = {len(row) for row in angles}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"{type_name}: rows of {sorted(lengths)} angles; wanted rows of one length, at least 1 (Haar's wavelet has "
            "no angle that could turn: begin with a longer one)"
        )
    rows = np.array(angles, dtype=np.float64)
    if not np.isfinite(rows).all():
        raise ValueError(f"{type_name}: angles {rows.tolist()}; wanted finite numbers, in radians")
    return rows
