"""Short causal convolutions in the time domain."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from undula.ops.phase import full_precision


def short_causal_conv(
    x: Float[Tensor, "B C T"], weight: Float[Tensor, "C L"], bias: Float[Tensor, " C"]
) -> Float[Tensor, "B C T"]:
    """Return y(t) = bias + sum_l weight(l) x(t - (L - 1) + l): the last tap multiplies the present.

    What lies before the first position counts as zero. Computed in the type of x.
    """
    weight, bias = weight.to(x.dtype), bias.to(x.dtype)
    with full_precision(x):
        if x.device.type == "cpu":
            return _ShiftedSum.apply(x, None, weight, bias)
        padding = weight.shape[1] - 1
        return F.conv1d(x, weight[:, None], bias, padding=padding, groups=x.shape[1])[..., : x.shape[-1]]


def continued_conv(
    x: Float[Tensor, "B C T"], past: Float[Tensor, "B C past"], weight: Float[Tensor, "C L"], bias: Float[Tensor, " C"]
) -> Float[Tensor, "B C T"]:
    """Return `short_causal_conv` at the positions of x, given the L - 1 inputs before them.

    Fewer positions than taps are one product and one sum over windows, where a shifted product for each tap would take
    most of its time to begin. More of them are not joined with the past: a copy of a long piece, which may be laid out
    otherwise than the past, took a quarter of the time of mixers that begin with such a convolution.
    """
    taps, on_cpu = weight.shape[1], x.device.type == "cpu"
    many = x.shape[-1] >= taps
    if many and on_cpu:
        return _ShiftedSum.apply(x, past, weight.to(x.dtype), bias.to(x.dtype))
    whole = torch.cat([past, x], dim=-1)
    if many:
        return short_causal_conv(whole, weight, bias)[..., taps - 1 :]
    weight, bias = weight.to(x.dtype), bias.to(x.dtype)
    return (whole.unfold(-1, taps, 1) * weight[:, None]).sum(-1) + bias[:, None]


class _ShiftedSum(torch.autograd.Function):
    """The same numbers as `conv1d`, one shifted product for each tap; a past is as long as the other taps.

    Where channels lie side by side in memory, as in the residual stream, a CPU takes a fraction of the time of its own
    convolution, which lays them out anew, forward and backward.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, past: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
        taps = weight.t().contiguous()[..., None]
        ctx.save_for_backward(x, past, taps)
        y = torch.addcmul(bias[:, None], x, taps[-1])
        for back, tap in _earlier(taps, x.shape[-1]):
            y[..., back:].addcmul_(x[..., :-back], tap)
            if past is not None:
                y[..., :back].addcmul_(past[..., -back:], tap)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        x, past, taps = ctx.saved_tensors
        grad = grads[0] if grads[0].stride() == x.stride() else torch.empty_like(x).copy_(grads[0])
        dx, d_taps = grad * taps[-1], torch.zeros_like(taps[..., 0])
        d_past = None if past is None else torch.zeros_like(past)
        d_taps[-1] = (grad * x).sum((0, 2))
        for back, tap in _earlier(taps, x.shape[-1]):
            late, early = grad[..., back:], x[..., :-back]
            dx[..., :-back].addcmul_(late, tap)
            d_taps[-1 - back] = (late * early).sum((0, 2))
            if past is not None and d_past is not None:
                first = grad[..., :back]
                d_past[..., -back:].addcmul_(first, tap)
                d_taps[-1 - back] += (first * past[..., -back:]).sum((0, 2))
        return dx, d_past, d_taps.t(), grad.sum((0, 2))


def _earlier(taps: Tensor, length: int) -> list[tuple[int, Tensor]]:
    """Each tap that multiplies an earlier position of a sequence, after how many steps back that is."""
    return [(back, taps[-1 - back]) for back in range(1, min(len(taps), length))]
