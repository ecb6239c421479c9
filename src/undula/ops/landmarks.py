"""A sequence of any length as a fixed number of points: the low band of its cosine transform, sampled again."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def spectral_landmarks(
    x: Float[Tensor, "B S D"], real: Bool[Tensor, "B S"], count: int
) -> tuple[Float[Tensor, "B M D"], Bool[Tensor, "B M"], Float[Tensor, "B M"], Float[Tensor, "B S"]]:
    """Return landmarks of each row, which of them there are, and where landmarks and positions lie on one axis.

    A row of n real positions x_0 .. x_(n-1), wherever padding stands between them, has m = min(n, count) landmarks
    l_j = sum_(k < m) X_k cos(pi k (j + 1/2) / m) with the cosine transform X_k = (2 - [k = 0]) / n sum_r x_r
    cos(pi k (r + 1/2) / n): what lies in the lowest m of its n frequencies is sampled without loss, the rest is left
    out. Mirrored at both ends, as cosines are, a sequence has no jump where a Fourier series would wrap around. With
    n <= count the landmarks are the positions themselves. Landmark j lies at j + 1/2, position r at (r + 1/2) m / n.

    Cost S count D, once; angles in float64. No landmark depends on padding.

    Source: Fourier resampling, with the even extension of Ahmed, Natarajan and Rao, "Discrete cosine transform" (1974).
    """
    lengths = real.sum(1, keepdim=True)
    rank = (real.cumsum(1) - 1).double() + 0.5
    kept = lengths.clamp(max=count)
    places = rank * kept / lengths.clamp(min=1)
    x = torch.where(real[..., None], x, 0.0)
    if x.shape[1] <= count:
        # Every row keeps all its frequencies: transform and back is the identity.
        return x, real, places.to(x.dtype), places.to(x.dtype)
    order = torch.arange(count, device=x.device, dtype=torch.float64)
    there = order < kept
    # Radians: at most pi count, and exact for the longest sequences only in float64.
    forth = torch.cos(math.pi * order[:, None] * (rank / lengths.clamp(min=1))[:, None])
    forth = torch.where(there[..., None] & real[:, None], forth, 0.0) * (2.0 - (order == 0).double())[:, None]
    back = torch.cos(math.pi * order * ((order + 0.5) / kept.clamp(min=1))[..., None])
    back = torch.where(there[..., None] & there[:, None], back, 0.0) / lengths.clamp(min=1)[..., None]
    wide = torch.promote_types(x.dtype, torch.float32)
    landmarks = back.to(wide) @ (forth.to(wide) @ x.to(wide))
    return landmarks.to(x.dtype), there, (order + 0.5).to(x.dtype).expand(len(x), -1), places.to(x.dtype)
