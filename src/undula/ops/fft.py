"""Every Fourier transform of the package: computed in float32 or wider, whatever comes in."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from undula.ops import dft
from undula.ops.channels import by_channels

MATMUL_DEVICES = {"xla"}
"""Kinds of devices that have no transform worth calling: there it is made of matrix products. `undula bench transforms`
measures both ways, and decides what stands here: a CPU's own transforms are several times as fast."""

# Not a ContextVar, which torch.compile cannot follow.
_chosen: list[bool] = []


@contextmanager
def transforms_by_matmul(enabled: bool = True) -> Generator[None]:
    """Make the transforms inside of matrix products, or not, whatever the device.

    Args:
        enabled: False calls the device's own transform.
    """
    _chosen.append(enabled)
    try:
        yield
    finally:
        _chosen.pop()


def _wants_matmul(device: torch.device) -> bool:
    return _chosen[-1] if _chosen else device.type in MATMUL_DEVICES


def rfft(x: Float[Tensor, "*batch T"], n: int | None = None) -> Complex[Tensor, "*batch F"]:
    """Return the non-negative half of the spectrum along the last axis, in complex64 or complex128.

    Args:
        x: real samples; half types are transformed in float32.
        n: length to which x is padded with zeros or cut; None: as it is.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if _wants_matmul(x.device):
        return dft.rfft(x, x.shape[-1] if n is None else n)
    return torch.fft.rfft(x, n)


def irfft(spectrum: Complex[Tensor, "*batch F"], n: int) -> Float[Tensor, "*batch T"]:
    """Return the n real samples whose `rfft` is `spectrum`, in float32 or float64."""
    return dft.irfft(spectrum, n) if _wants_matmul(spectrum.device) else torch.fft.irfft(spectrum, n)


def fast_length(n: int) -> int:
    """Return the smallest length of at least n that has no prime factor above 5: transforms of it are fast.

    Raises:
        ValueError: for n below 1.
    """
    if n < 1:
        raise ValueError(f"a transform of {n} points; wanted at least 1: is the sequence empty?")
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def causal_conv(u: Float[Tensor, "B C T"], h: Float[Tensor, "C L"]) -> Float[Tensor, "B C T"]:
    """Return y(t) = sum_s h(t - s) u(s) over s <= t, channel by channel, in the type of u.

    Transforms are zero-padded, so that nothing wraps around from the future. Cost T log T; T log L where the filter is
    shorter than the sequence, which is then cut into blocks of its length. Large sequences are done a few channels at a
    time. The gradient is written out, because the transforms are real in both directions: a third faster than
    differentiating through them.
    """
    wide = torch.promote_types(u.dtype, torch.float32)
    (y,) = by_channels(_causal_conv, 1, u.to(wide), h.to(wide))
    return y.to(u.dtype)


def two_sided_conv(u: Float[Tensor, "B C T"], h: Float[Tensor, "C L"]) -> Float[Tensor, "B C T"]:
    """Return y(t) = sum_s h(|t - s|) u(s) over all s: `causal_conv`, and the same backwards."""
    return causal_conv(u, h) + causal_conv(u.flip(-1), h).flip(-1) - (h[:, :1] * u).to(u.dtype)


def conv_blocks(
    u: Float[Tensor, "B C T"], h: Float[Tensor, "C L"], before: Float[Tensor, "B C L"] | None = None
) -> tuple[Float[Tensor, "B C T"], Float[Tensor, "B C L"]]:
    """Return `causal_conv` of whole blocks, and what they add to as many outputs after them; in float32 or float64.

    Args:
        u: inputs, a multiple of L of them.
        h: filters.
        before: what earlier inputs add to the first L outputs; None: nothing.
    """
    y, after = by_channels(_conv_blocks, 1, u, before, h)
    return y, after


def cyclic_conv(u: Float[Tensor, "B C T"], h: Float[Tensor, "C L"], points: int) -> Float[Tensor, "B C P"]:
    """Return the convolution of two signals that repeat after `points` steps, in float32 or float64.

    Args:
        u: one signal; zeros follow up to `points`.
        h: the other.
        points: no fewer than either has.
    """
    (y,) = by_channels(lambda u, h: (irfft(rfft(u, points) * rfft(h, points), points),), 1, u, h)
    return y


def _causal_conv(u: Tensor, h: Tensor) -> tuple[Tensor]:
    length, taps = u.shape[-1], h.shape[-1]
    if taps >= length:
        return (conv_rows(u, h[:, :length]),)
    y, _ = _conv_blocks(F.pad(u, (0, -length % taps)), None, h)
    return (y[..., :length],)


def _conv_blocks(u: Tensor, before: Tensor | None, h: Tensor) -> tuple[Tensor, Tensor]:
    taps = h.shape[-1]
    now, later = conv_rows(u.unflatten(-1, (-1, taps)), h[:, None], 2 * taps).split(taps, dim=-1)
    first = torch.zeros_like(later[:, :, :1]) if before is None else before[:, :, None]
    return (now + torch.cat([first, later[:, :, :-1]], dim=2)).flatten(-2), later[:, :, -1]


def conv_rows(
    u: Float[Tensor, "*#rows T"], h: Float[Tensor, "*#rows T"], keep: int | None = None
) -> Float[Tensor, "... K"]:
    """Return the first values of the convolution along the last axis, in float32 or float64, in one go.

    Args:
        u: signals.
        h: filters; the axes before the last broadcast.
        keep: how many values, up to 2 T; None: T.
    """
    return _Conv.apply(u, h, u.shape[-1] if keep is None else keep)


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, h: Tensor, keep: int) -> Tensor:
        length = u.shape[-1]
        points = fast_length(max(2 * length - 1, keep))
        u_spectrum, h_spectrum = rfft(u, points), rfft(h, points)
        ctx.save_for_backward(u_spectrum, h_spectrum)
        ctx.length, ctx.points = length, points
        y = irfft(u_spectrum * h_spectrum, points)[..., :keep]
        return _laid_out_as(u, y) if keep == length else y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        u_spectrum, h_spectrum = ctx.saved_tensors
        spectrum = rfft(grads[0], ctx.points)
        du = irfft(spectrum * h_spectrum.conj(), ctx.points)[..., : ctx.length]
        # The conjugate of what is wanted, in place: without copies of both spectra the pass takes a quarter less time.
        mirrored = spectrum.conj_physical_().mul_(u_spectrum).sum_to_size(h_spectrum.shape)
        dh = irfft(mirrored.conj_physical_(), ctx.points)[..., : ctx.length]
        like = grads[0]
        return (_laid_out_as(like, du) if like.shape == du.shape else du), dh, None


def _laid_out_as(like: Tensor, x: Tensor) -> Tensor:
    """Return x with the strides of a tensor of equal shape: what meets it next has them too, and mixed ones cost."""
    return torch.empty_like(like).copy_(x)
