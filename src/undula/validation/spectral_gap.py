"""How features hang together: the spectral gap of the graph of similar ones."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from undula.ops.graph import components, normalised_laplacian, similarity_graph, smallest_eigenvalues

APPROXIMATION = 0.6
"""Weight of the approximation in the gap of a wavelet representation; the details share the rest."""
SHOWN = 5
"""Eigenvalues that are told of a wavelet representation."""


class SpectralGapAnalyzer:
    """Measures the graph in which each vector of a sequence is joined to those that point the same way.

    lambda_1 = 0 <= lambda_2 <= ... are the eigenvalues of its normalised Laplacian, all in [0, 2]. The gap is
    lambda_2: 0 for a graph in parts, small where groups of vectors hardly touch, N / (N - 1) where all N are alike. The
    conductance h of the best cut lies within lambda_2 / 2 <= h <= sqrt(2 lambda_2) (Cheeger).
    Cost N^2 D for each sequence.

    Args:
        device: where it is computed; None: where the features are.
        neighbours: nearest ones that each vector is joined to.
        eigenvalues: how many are computed.

    Raises:
        ValueError: for no neighbour, or fewer than 2 eigenvalues.

    Source: SpectralLLM, spectral gap; von Luxburg, "A tutorial on spectral clustering" (2007); Chung, Spectral Graph
    Theory (1997).
    """

    def __init__(
        self, device: str | torch.device | None = None, *, neighbours: int = 10, eigenvalues: int = 10
    ) -> None:
        if neighbours < 1 or eigenvalues < 2:
            raise ValueError(f"neighbours={neighbours}, eigenvalues={eigenvalues}; wanted at least 1 and 2")
        self.device, self.neighbours, self.eigenvalues = device, neighbours, eigenvalues

    def compute_laplacian(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N N"]:
        """Return the normalised Laplacian of one sequence's vectors, sparse.

        Raises:
            ValueError: for no vector, or NaN and infinity.
        """
        x = features.detach()
        return normalised_laplacian(similarity_graph(x if self.device is None else x.to(self.device), self.neighbours))

    def compute_spectral_gap(self, laplacian: Float[Tensor, "N N"]) -> tuple[float, Float[Tensor, " k"]]:
        """Return lambda_2 - lambda_1, and the smallest eigenvalues; 0 for a single node and for a graph in parts."""
        values = smallest_eigenvalues(laplacian if laplacian.is_sparse else laplacian.to_sparse(), self.eigenvalues)
        return (values[1] - values[0]).item() if len(values) > 1 else 0.0, values

    def analyze(self, features: Float[Tensor, "*B N D"]) -> dict[str, Any]:
        """Return spectral_gap, parts, groups, cheeger_low, cheeger_high and eigenvalues.

        Groups are as many as there are eigenvalues before the widest step between two that follow each other. Of
        several sequences, which are never joined, all numbers are means; `gaps` has the gap of each.

        Raises:
            ValueError: for no sequence, no vector, or NaN and infinity.
        """
        sequences = features.flatten(0, -3) if features.ndim > 2 else features[None]
        if not len(sequences):
            raise ValueError("no sequence to analyse; wanted at least 1")
        found = [self._one(sequence) for sequence in sequences]
        numbers = {
            name: math.fsum(one[name] for one in found) / len(found) for name in found[0] if name != "eigenvalues"
        }
        values = torch.stack([one["eigenvalues"] for one in found]).mean(0)
        return {**numbers, "gaps": [one["spectral_gap"] for one in found], "eigenvalues": values.tolist()}

    def analyze_wavelet_representation(
        self, coefficients: tuple[Float[Tensor, "B M D"], Sequence[Float[Tensor, "B _ D"]]]
    ) -> dict[str, Any]:
        """Return approx_gap, detail_gaps, overall_gap, approx_eigenvalues and detail_eigenvalues, means over the batch.

        overall_gap = 0.6 approx_gap + 0.4 mean of detail_gaps; without details, approx_gap.

        Args:
            coefficients: (approximation, details of each level), as `EnhancedWaveletTransform` gives them.
        """
        approx, details = coefficients
        low, high = self.analyze(approx), [self.analyze(detail) for detail in details]
        gaps = [one["spectral_gap"] for one in high]
        overall = low["spectral_gap"]
        if gaps:
            overall = APPROXIMATION * overall + (1 - APPROXIMATION) * math.fsum(gaps) / len(gaps)
        return {
            "approx_gap": low["spectral_gap"],
            "detail_gaps": gaps,
            "overall_gap": overall,
            "approx_eigenvalues": low["eigenvalues"][:SHOWN],
            "detail_eigenvalues": [one["eigenvalues"][:SHOWN] for one in high],
        }

    def _one(self, features: Tensor) -> dict[str, Any]:
        laplacian = self.compute_laplacian(features)
        gap, values = self.compute_spectral_gap(laplacian)
        steps = values.diff()
        return {
            "spectral_gap": gap,
            "parts": len(components(laplacian).unique()),
            "groups": int(steps.argmax()) + 1 if len(steps) else 1,
            "cheeger_low": gap / 2,
            "cheeger_high": math.sqrt(2 * gap),
            "eigenvalues": values,
        }
