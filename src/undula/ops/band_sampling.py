"""A sum of projected bands, of which only some that are drawn are computed: unbiased, with a bound on its error."""

import torch
from jaxtyping import Float
from torch import Tensor

EVEN = 0.1
"""Share of the chances that all bands have alike."""


def band_sum(bands: Float[Tensor, "J B T C"], weights: Float[Tensor, "J D C"]) -> Float[Tensor, "B T D"]:
    """Return sum_j W_j b_j. Cost B T J C D."""
    return torch.einsum("jbtc,jdc->btd", bands, weights)


def band_chances(weights: Float[Tensor, "J D C"]) -> Float[Tensor, " J"]:
    """Return the chances p_j of the bands: for the most part by the norms of their projections, and never near 0."""
    norms = weights.detach().flatten(1).norm(dim=1)
    norms = norms + EVEN * norms.mean() + 1e-12
    return norms / norms.sum()


def sampled_band_sum(
    bands: Float[Tensor, "J B T C"],
    weights: Float[Tensor, "J D C"],
    draws: int,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B T D"]:
    """Return an estimate of `band_sum`: 1 / m sum_i W_j(i) b_j(i) / p_j(i) over m bands drawn with replacement.

    Its mean is the sum, and so is that of its gradient. One draw serves the whole batch, so that m of J products are
    computed. Chances do not depend on the data, and tell nothing of it. Cost B T m C D.

    Args:
        bands: of a sequence.
        weights: projection of each band.
        draws: m.
        generator: of the random numbers.

    Raises:
        ValueError: for no draw.

    Source: importance sampling; Owen, "Monte Carlo theory, methods and examples" (2013), chapter 9.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}; wanted at least 1 band")
    chances = band_chances(weights)
    chosen = torch.multinomial(chances, draws, replacement=True, generator=generator)
    scale = (1 / (draws * chances[chosen])).to(weights.dtype)
    return band_sum(bands[chosen], weights[chosen] * scale[:, None, None])


def sampling_bound(
    bands: Float[Tensor, "J B T C"], weights: Float[Tensor, "J D C"], draws: int
) -> Float[Tensor, "B T"]:
    """Return a bound on the mean square of the error of `sampled_band_sum`, summed over D, at each position.

    E |y' - y|^2 = (sum_j |W_j b_j|^2 / p_j - |y|^2) / m <= sum_j |W_j|^2 |b_j|^2 / (m p_j), with Frobenius norms.
    """
    size = weights.detach().flatten(1).square().sum(1)
    return torch.einsum("jbt,j->bt", bands.square().sum(-1), size / (draws * band_chances(weights)))
