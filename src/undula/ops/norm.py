"""Division by the root mean square."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def rms_norm(x: Float[Tensor, "*rest D"], weight: Float[Tensor, " D"], eps: float) -> Float[Tensor, "*rest D"]:
    """Return weight * x / sqrt(mean(x^2) + eps) along the last axis, computed in float32 or wider, in the type of x.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    if x.device.type == "cpu" and not torch.is_grad_enabled():
        # Few positions at a time, as when generating, would spend more on the machinery of gradients than on numbers.
        return (_unit(x.to(wide), eps)[0] * weight.to(wide)).to(x.dtype)
    if x.device.type == "cpu":
        return _RMSNorm.apply(x.to(wide), weight.to(wide), eps).to(x.dtype)
    return F.rms_norm(x.to(wide), weight.shape, weight.to(wide), eps).to(x.dtype)


def inverse_rms(x: Float[Tensor, "*rest D"], eps: float) -> Float[Tensor, "*rest 1"]:
    """Return 1 / sqrt(mean(x^2) + eps) over the last axis, without a gradient, in the type of x."""
    size = torch.linalg.vector_norm(x.detach(), dim=-1, keepdim=True)
    return size.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


class _RMSNorm(torch.autograd.Function):
    """The same numbers as `F.rms_norm`, which a CPU runs as a chain of small operations: half of its time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        unit, inverse = _unit(x, eps)
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (unit, inverse, weight), grad = ctx.saved_tensors, grads[0]
        along = grad * unit
        d_weight = along.sum_to_size(weight.shape)
        # What points along x itself does not change x / |x|.
        share = (along @ weight)[..., None].div_(unit.shape[-1])
        return torch.addcmul(grad * weight, unit, share, value=-1).mul_(inverse), d_weight, None


def _unit(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return x over its root mean square, and what it was multiplied by."""
    inverse = inverse_rms(x, eps)
    return x * inverse, inverse
