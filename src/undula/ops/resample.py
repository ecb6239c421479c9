"""Sound at another sample rate, by a windowed sinc in as many phases as there are."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

LOBES = 16
"""Zero crossings of the sinc on either side of a sample."""

SHARE = 0.95
"""Where the filter's middle lies, over the lower of the two Nyquist frequencies: the rest is for its slope."""


def resample(x: Float[Tensor, "*batch L"], old_rate: int, new_rate: int) -> Float[Tensor, "*batch M"]:
    """Return a sound of L samples at `old_rate` as ceil(L new / old) samples at `new_rate`.

    y[m] = (c / old) sum_n x[n] sinc(d) cos^2(pi d / 32), d = (m / new - n / old) c in -16 .. 16, with the cut-off
    c = 0.95 min(old, new). The filter has new / gcd(old, new) phases, applied as one strided convolution; what lies
    outside the sound is 0. Sample 0 stays where it is. Computed in float64, cast back.

    Args:
        x: samples.
        old_rate: samples per second that x has.
        new_rate: samples per second that are wanted.

    Raises:
        ValueError: when a rate is not positive.

    Source: Smith, "Digital audio resampling" (1984); Crochiere and Rabiner, "Multirate digital signal processing".
    """
    if min(old_rate, new_rate) < 1:
        raise ValueError(f"resampling from {old_rate} to {new_rate} samples per second; wanted positive rates")
    if old_rate == new_rate or x.shape[-1] == 0:
        return x
    common = math.gcd(old_rate, new_rate)
    old, new = old_rate // common, new_rate // common
    cutoff = SHARE * min(old, new)
    reach = math.ceil(LOBES * old / cutoff)
    taps = torch.arange(-reach, reach + old, dtype=torch.float64)
    away = (torch.arange(new, dtype=torch.float64)[:, None] / new - taps / old) * cutoff
    window = torch.cos(math.pi * away / (2 * LOBES)).square().masked_fill(away.abs() >= LOBES, 0)
    kernel = (torch.sinc(away) * window * (cutoff / old)).to(x.device)
    count = -(-x.shape[-1] * new // old)
    steps = -(-count // new)
    room = (steps - 1) * old + len(taps) - reach - x.shape[-1]
    rows = F.pad(x.reshape(-1, 1, x.shape[-1]).double(), (reach, max(0, room)))
    phases = F.conv1d(rows, kernel[:, None], stride=old)[..., :steps]
    return phases.transpose(1, 2).reshape(*x.shape[:-1], -1)[..., :count].to(x.dtype)
