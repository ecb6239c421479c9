"""How far a reconstruction is from the sound it stands for."""

import torch
from jaxtyping import Float
from torch import Tensor


def si_sdr(estimate: Float[Tensor, "*batch L"], target: Float[Tensor, "*batch L"]) -> Float[Tensor, "*batch"]:
    """Return the scale-invariant signal-to-distortion ratio in decibels.

    10 log10(|s|^2 / |estimate - s|^2) with s = (<estimate, target> / |target|^2) target. Means are not taken away, so a
    constant offset counts as distortion. NaN where the target is silent: nothing can be said; -inf for an estimate
    that is silent or orthogonal, inf for an exact one. In float64.

    Args:
        estimate: reconstructions.
        target: the sounds.

    Source: Le Roux, Wisdom, Erdogan, Hershey, "SDR - half-baked or well done?", arXiv 1811.02508.
    """
    y, x = estimate.double(), target.double()
    wanted = (y * x).sum(-1, keepdim=True) / x.square().sum(-1, keepdim=True) * x
    return 10 * torch.log10(wanted.square().sum(-1) / (y - wanted).square().sum(-1)).where(y.any(-1), -torch.inf)
