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
            return _DepthwiseConv.apply(x, weight, bias)
        return _depthwise(x, weight, bias)


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv1d(x, weight[:, None], bias, padding=weight.shape[1] - 1, groups=x.shape[1])[..., : x.shape[-1]]


class _DepthwiseConv(torch.autograd.Function):
    """The same numbers as `conv1d`; on a CPU its own gradient of the weights takes twice the time of this one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _depthwise(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (x, weight), grad = ctx.saved_tensors, grads[0]
        rows, taps = grad.shape[0] * grad.shape[1], weight.shape[1]
        dx = F.conv1d(grad, weight.flip(1)[:, None], padding=taps - 1, groups=grad.shape[1])[..., taps - 1 :]
        # Every (sample, channel) pair correlates its input with its gradient: one grouped convolution with T taps.
        past = F.pad(x, (taps - 1, 0)).reshape(1, rows, -1)
        dw = F.conv1d(past, grad.reshape(rows, 1, -1), groups=rows).reshape(*grad.shape[:2], taps).sum(0)
        return dx, dw, grad.sum((0, 2))
