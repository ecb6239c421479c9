"""A causal undecimated wavelet tree: every band has a value at every position, made of the past alone."""

import torch
from jaxtyping import Float
from torch import Tensor

History = tuple[Tensor, ...]
"""For each level the (L - 1) 2^level values before the next one."""


def causal_tree(
    x: Float[Tensor, "*batch T"], low: Float[Tensor, "*each L"], levels: int, history: History | None = None
) -> tuple[Float[Tensor, "*batch T"], list[Float[Tensor, "*batch T"]], History]:
    """Return the smooth part, the details of each level, finest first, and the history for what follows.

    a_(j+1)(t) = sum_k low_k a_j(t - 2^j k) / sum of low, d_(j+1) = a_j - a_(j+1), from a_0 = x (the a trous algorithm,
    looking back only). x = a_J + sum of the details, whatever the filter is. Cost T L for each level; what lies before
    the first position counts as zero.

    Args:
        x: signals.
        low: taps of a low-pass filter, that of the present first; one for all levels, or one for each.
        levels: J.
        history: from an earlier call that x continues; None: nothing came before.

    Raises:
        ValueError: for no level, no tap, or taps whose sum is zero.

    Source: Holschneider et al., "A real-time algorithm for signal analysis", in Wavelets, Springer (1989) 286.
    """
    taps = low.shape[-1]
    if levels < 1 or not taps:
        raise ValueError(f"levels={levels} with {taps} taps; wanted at least 1 of each")
    if not torch.compiler.is_compiling() and (low.detach().sum(-1).abs() < 1e-6).any():
        raise ValueError("the taps sum to zero; wanted a low-pass filter, such as the analysis low pass of a wavelet")
    weights = (low / low.sum(-1, keepdim=True)).to(x).expand(levels, taps)
    smooth, details, kept = x, [], []
    for level in range(levels):
        step = 2**level
        reach = (taps - 1) * step
        past = smooth.new_zeros(*smooth.shape[:-1], reach) if history is None else history[level]
        whole = torch.cat([past, smooth], dim=-1)
        steps = smooth.shape[-1]
        terms = [w * whole[..., reach - k * step : reach - k * step + steps] for k, w in enumerate(weights[level])]
        coarse = torch.stack(terms).sum(0)
        details.append(smooth - coarse)
        kept.append(whole[..., steps:])
        smooth = coarse
    return smooth, details, tuple(kept)
