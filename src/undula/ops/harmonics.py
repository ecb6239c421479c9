"""Damped harmonics: impulse responses h(t) = sum_m Re[c_m z_m^t], and the same as a recurrence with constant state.

A pole z = exp(-decay + i frequency); decay per step (> 0), frequency in radians per step. Complex numbers are real
pairs throughout, because complex tensors lose their imaginary part in a cast to bfloat16.

Source: diagonal state spaces, Gu et al., "On the Parameterization and Initialization of Diagonal State Space Models",
arXiv 2206.11893.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from undula.ops.channels import by_channels
from undula.ops.fft import conv_rows
from undula.ops.phase import cos_sin, wide_dtype

Modes = Float[Tensor, "C M"]
Pairs = Float[Tensor, "C M 2"]
"""Complex numbers as (real, imaginary)."""

CHUNK = 512
"""Steps of a long sequence that one transform takes."""


def powers(
    decay: Modes, frequency: Modes, steps: Float[Tensor, " n"] | Int[Tensor, " n"]
) -> tuple[Float[Tensor, "C M n"], Float[Tensor, "C M n"]]:
    """Return real and imaginary part of z^t for every t of `steps`."""
    wide = wide_dtype(frequency.device)
    cos, sin = cos_sin(frequency.to(wide)[..., None] * steps.to(wide), frequency.dtype)
    size = torch.exp(-decay[..., None] * steps.to(decay.dtype))
    return size * cos, size * sin


def power_table(decay: Modes, frequency: Modes, length: int) -> tuple[Float[Tensor, "C M T"], Float[Tensor, "C M T"]]:
    """Return real and imaginary part of z^t for t = 0 .. length - 1.

    Written as z^(b i + j) = z^(b i) z^j with b near sqrt(length): only about 2 sqrt(length) sines are computed.
    """
    block = max(1, math.isqrt(length))
    coarse, fine = torch.arange(0, length, block), torch.arange(block)
    re, im = powers(decay, frequency, torch.cat([coarse, fine]).to(decay.device))
    far = re[..., : len(coarse), None], im[..., : len(coarse), None]
    near = re[..., None, len(coarse) :], im[..., None, len(coarse) :]
    all_re, all_im = _times(*far, *near)
    return all_re.flatten(-2)[..., :length], all_im.flatten(-2)[..., :length]


def impulse_response(decay: Modes, frequency: Modes, gain: Pairs, length: int) -> Float[Tensor, "C T"]:
    """Return h(t) = sum_m Re[c_m z_m^t] for t = 0 .. length - 1.

    Written as z^(b i + j) = z^(b i) z^j with b near sqrt(length), so that only about 2 sqrt(length) powers are computed
    and the rest is one small matrix product per channel.
    """
    return _ImpulseResponse.apply(decay, frequency, gain, length)


class _ImpulseResponse(torch.autograd.Function):
    """With its gradient written out: S_p = sum_t t^p g(t) z^t for p = 0, 1 holds all of it.

    dL/dc = conj(S_0), dL/d decay = -Re[c S_1], dL/d frequency = -Im[c S_1].
    """

    @staticmethod
    def forward(ctx: Any, decay: Tensor, frequency: Tensor, gain: Tensor, length: int) -> Tensor:
        block = max(1, math.isqrt(length))
        coarse, fine = torch.arange(0, length, block), torch.arange(block)
        re, im = powers(decay, frequency, torch.cat([coarse, fine]).to(decay.device))
        ctx.save_for_backward(re, im, gain)
        ctx.blocks, ctx.block = len(coarse), block
        left_re, left_im = _times(gain[..., :1], gain[..., 1:], re[..., : len(coarse)], im[..., : len(coarse)])
        left = torch.cat([left_re, -left_im], dim=1)
        right = torch.cat([re[..., len(coarse) :], im[..., len(coarse) :]], dim=1)
        return torch.bmm(left.transpose(1, 2), right).flatten(1)[:, :length]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        re, im, gain = ctx.saved_tensors
        blocks, block, modes = ctx.blocks, ctx.block, re.shape[1]
        grad = F.pad(grads[0], (0, blocks * block - grads[0].shape[1])).unflatten(1, (blocks, block))
        fine = torch.cat([re[..., blocks:], im[..., blocks:]], dim=1).transpose(1, 2)
        steps = torch.arange(block, dtype=re.dtype, device=re.device)
        within = torch.bmm(torch.cat([grad, grad * steps], dim=1), fine).transpose(1, 2)
        plain, timed = within.split(blocks, dim=-1)
        timed = timed + plain * (block * torch.arange(blocks, dtype=re.dtype, device=re.device))
        coarse = re[..., :blocks], im[..., :blocks]
        s0_re, s0_im = (part.sum(-1) for part in _times(*coarse, plain[:, :modes], plain[:, modes:]))
        s1_re, s1_im = (part.sum(-1) for part in _times(*coarse, timed[:, :modes], timed[:, modes:]))
        d_decay, d_frequency = _times(gain[..., 0], gain[..., 1], s1_re, s1_im)
        return -d_decay, -d_frequency, torch.stack([s0_re, -s0_im], dim=-1), None


def _times(a_re: Tensor, a_im: Tensor, b_re: Tensor, b_im: Tensor) -> tuple[Tensor, Tensor]:
    """Return real and imaginary part of a product."""
    return a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re


def step(
    u: Float[Tensor, "B C"], state: Float[Tensor, "B C M 2"], decay: Modes, frequency: Modes, gain: Pairs
) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C M 2"]]:
    """Return the output of one step and the next state: s' = z s + u, y = sum_m Re[c_m s'_m].

    Each step in the widest type of the device: a pole rounded to float32 would be off by one rounding more each step.
    """
    wide = wide_dtype(decay.device)
    re, im = powers(decay.to(wide), frequency.to(wide), torch.ones(1, device=decay.device))
    re, im = re[..., 0], im[..., 0]
    old_re, old_im = state.to(wide).unbind(-1)
    new_re = re * old_re - im * old_im + u[..., None]
    new_im = re * old_im + im * old_re
    y = (gain[..., 0] * new_re - gain[..., 1] * new_im).sum(-1)
    return y.to(state.dtype), torch.stack([new_re, new_im], dim=-1).to(state.dtype)


def ring_out(
    state: Float[Tensor, "B C M 2"], decay: Modes, frequency: Modes, gain: Pairs, length: int
) -> Float[Tensor, "B C T"]:
    """Return what a state adds to the next `length` outputs: sum_m Re[c_m z_m^(t+1) s_m]."""
    re, im = (part[..., 1:] for part in power_table(decay, frequency, length + 1))
    weight_re = gain[..., 0] * state[..., 0] - gain[..., 1] * state[..., 1]
    weight_im = gain[..., 0] * state[..., 1] + gain[..., 1] * state[..., 0]
    return torch.einsum("bcm,cmt->bct", weight_re, re) - torch.einsum("bcm,cmt->bct", weight_im, im)


def absorb(
    u: Float[Tensor, "B C T"], state: Float[Tensor, "B C M 2"], decay: Modes, frequency: Modes
) -> Float[Tensor, "B C M 2"]:
    """Return the state after T further inputs: z^T s + sum_j z^(T-1-j) u_j."""
    length = u.shape[-1]
    re, im = (part.flip(-1) for part in power_table(decay, frequency, length + 1))
    keep_re, keep_im = re[..., 0], im[..., 0]
    old_re, old_im = state.unbind(-1)
    new_re = keep_re * old_re - keep_im * old_im + torch.einsum("bct,cmt->bcm", u, re[..., 1:])
    new_im = keep_re * old_im + keep_im * old_re + torch.einsum("bct,cmt->bcm", u, im[..., 1:])
    return torch.stack([new_re, new_im], dim=-1)


def convolve(
    u: Float[Tensor, "B C T"],
    state: Float[Tensor, "B C M 2"] | None,
    decay: Modes,
    frequency: Modes,
    gain: Pairs,
    direct: Float[Tensor, " C"],
) -> tuple[Float[Tensor, "B C T"], Float[Tensor, "B C M 2"]]:
    """Return y = direct u + sum_m Re[c_m s_m] with s_m(t) = z_m s_m(t - 1) + u(t), and the last states s.

    In chunks: inside of them a convolution by transform, between them the states, which are found for all chunks at
    once. Time grows with T (log chunk + M), not T log T, and no filter is longer than a chunk.

    Args:
        u: inputs.
        state: s before the first step; None: zeros.
        decay: per step.
        frequency: radians per step.
        gain: the c_m.
        direct: weight of the present input, beside the harmonics.
    """
    y, after = by_channels(_convolve, 4, u, state, decay, frequency, gain, direct)
    return y, after


def _convolve(
    u: Tensor, state: Tensor | None, decay: Tensor, frequency: Tensor, gain: Tensor, direct: Tensor
) -> tuple[Tensor, Tensor]:
    length, modes = u.shape[-1], decay.shape[1]
    chunk = min(CHUNK, length)
    re, im = power_table(decay, frequency, chunk + 1)
    out_re, out_im = _times(gain[..., :1], gain[..., 1:], re, im)
    h = out_re[..., :-1].sum(1)
    h = torch.cat([h[:, :1] + direct[:, None], h[:, 1:]], dim=-1)
    frames = F.pad(u, (0, -length % chunk)).unflatten(-1, (-1, chunk))
    into = torch.cat([re, im], dim=1)[..., :-1].flip(-1).transpose(1, 2)
    out_of = torch.cat([out_re, -out_im], dim=1)[..., 1:]
    fresh = torch.stack((frames @ into).split(modes, dim=-1), dim=-1)
    first = torch.zeros_like(fresh[:, :, 0]) if state is None else state
    before = _states_before(fresh, first, (re[..., -1], im[..., -1]))
    y = conv_rows(frames, h[:, None]) + before.transpose(-1, -2).flatten(-2) @ out_of
    rest = length - (frames.shape[2] - 1) * chunk
    tail = (frames[:, :, -1:, :rest] @ into[:, chunk - rest :]).squeeze(-2)
    kept = torch.stack(_times(re[..., rest], im[..., rest], *before[:, :, -1].unbind(-1)), dim=-1)
    return y.flatten(-2)[..., :length], kept + torch.stack(tail.split(modes, dim=-1), dim=-1)


def _states_before(fresh: Tensor, first: Tensor, power: tuple[Tensor, Tensor]) -> Tensor:
    """The states before every chunk, (B, C, chunks, M, 2), from what each chunk adds and the power of z across one.

    By doubling: after k rounds each holds what the last 2^k chunks have added.
    """
    added = torch.cat([first[:, :, None], fresh[:, :, :-1]], dim=2)
    re, im = added.unbind(-1)
    factor, reach = (power[0][:, None], power[1][:, None]), 1
    while reach < added.shape[2]:
        more_re, more_im = _times(*factor, re[:, :, :-reach], im[:, :, :-reach])
        re, im = re + F.pad(more_re, (0, 0, reach, 0)), im + F.pad(more_im, (0, 0, reach, 0))
        factor, reach = _times(*factor, *factor), 2 * reach
    return torch.stack([re, im], dim=-1)
