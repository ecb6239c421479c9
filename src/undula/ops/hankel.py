"""Spectral filters: the top eigenvectors of a Hankel matrix whose entries fall with the third power of the lag.

Z_ij = 2 / ((i + j)^3 - (i + j)) = integral over a in [0, 1] of (1 - a)^2 a^(i + j - 2): the second moments of all
decaying memories a^t, weighted. Few eigenvectors hold nearly all of it, so that mixtures of them are near every
linear dynamical system with real poles.

Source: Agarwal et al., "Spectral State Space Models", arXiv 2312.06837.
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

STEP = 0.1
"""Spacing of the sum that takes the integral's place, in the logarithm of the decay: exact to about 1e-15."""


def hankel(length: int) -> Float[Tensor, "T T"]:
    """Return Z for i, j = 1 .. length, in float64, on the CPU."""
    i = torch.arange(1, length + 1, dtype=torch.float64, device="cpu")
    both = i[:, None] + i
    return 2 / (both.pow(3) - both)


def hankel_factor(length: int) -> Float[Tensor, "T Q"]:
    """Return F with F F^T = Z: one column of decaying exponentials for each of about 200 decays, in float64."""
    first, last = -math.log(2 * length) - 13, 4.0
    decay = torch.arange(first, last, STEP, dtype=torch.float64, device="cpu").exp()
    steps = torch.arange(length, dtype=torch.float64, device="cpu")
    return (STEP * decay).sqrt() * -torch.expm1(-decay) * torch.exp(-decay * (steps[:, None] + 0.5))


@lru_cache(maxsize=8)
def spectral_filters(length: int, count: int) -> tuple[Float[Tensor, " K"], Float[Tensor, "K T"]]:
    """Return the `count` largest eigenvalues of Z and their eigenvectors, in float64, on the CPU.

    Found without Z, from its factor of about 200 columns: cost and memory grow with the length, not with its square.
    Every eigenvector starts with a positive value. The result is kept and given again: it is not to be changed.

    Args:
        length: of the filters, in steps.
        count: how many.

    Raises:
        ValueError: where there are not as many.
    """
    if not 1 <= count <= length:
        raise ValueError(f"count={count} filters of {length} steps; wanted 1 to {length}: a longer filter or fewer")
    q, r = torch.linalg.qr(hankel_factor(length))
    u, size, _ = torch.linalg.svd(r)
    filters = (q @ u[:, :count]).T
    return size[:count].square(), filters * filters[:, :1].sign()
