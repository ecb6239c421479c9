"""Every Fourier transform of the package: computed in float32 or wider, whatever comes in."""

from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from undula.ops.channels import by_channels


def rfft(x: Float[Tensor, "*batch T"], n: int | None = None) -> Complex[Tensor, "*batch F"]:
    """Return the non-negative half of the spectrum along the last axis, in complex64 or complex128.

    Args:
        x: real samples; half types are transformed in float32.
        n: length to which x is padded with zeros or cut; None: as it is.
    """
    return torch.fft.rfft(x.to(torch.promote_types(x.dtype, torch.float32)), n)


def irfft(spectrum: Complex[Tensor, "*batch F"], n: int) -> Float[Tensor, "*batch T"]:
    """Return the n real samples whose `rfft` is `spectrum`, in float32 or float64."""
    return torch.fft.irfft(spectrum, n)


def fast_length(n: int) -> int:
    """Return the smallest length of at least n that has no prime factor above 5: transforms of it are fast."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def causal_conv(u: Float[Tensor, "B C T"], h: Float[Tensor, "C T"]) -> Float[Tensor, "B C T"]:
    """Return y(t) = sum_s h(t - s) u(s) over s <= t, channel by channel, in the type of u.

    Transforms are zero-padded to at least 2 T - 1 points, so that nothing wraps around from the future. Cost T log T.
    The gradient is written out, because the transforms are real in both directions: a third faster than differentiating
    through them.
    """
    wide = torch.promote_types(u.dtype, torch.float32)
    (y,) = by_channels(lambda *rows: (conv_rows(*rows),), 1, u.to(wide), h.to(wide))
    return y.to(u.dtype)


def conv_rows(u: Float[Tensor, "*#rows T"], h: Float[Tensor, "*#rows T"]) -> Float[Tensor, "... T"]:
    """Return `causal_conv` along the last axis of tensors whose other axes broadcast, in float32 or float64."""
    return _CausalConv.apply(u, h)


class _CausalConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, h: Tensor) -> Tensor:
        length = u.shape[-1]
        points = fast_length(2 * length - 1)
        u_spectrum, h_spectrum = rfft(u, points), rfft(h, points)
        ctx.save_for_backward(u_spectrum, h_spectrum)
        ctx.length, ctx.points = length, points
        return _laid_out_as(u, irfft(u_spectrum * h_spectrum, points)[..., :length])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        u_spectrum, h_spectrum = ctx.saved_tensors
        spectrum = rfft(grads[0], ctx.points)
        du = irfft(spectrum * h_spectrum.conj(), ctx.points)[..., : ctx.length]
        dh = irfft((spectrum * u_spectrum.conj()).sum_to_size(h_spectrum.shape), ctx.points)[..., : ctx.length]
        return _laid_out_as(grads[0], du), dh


def _laid_out_as(like: Tensor, x: Tensor) -> Tensor:
    """Return x with the strides of a tensor of equal shape: what meets it next has them too, and mixed ones cost."""
    return torch.empty_like(like).copy_(x)
