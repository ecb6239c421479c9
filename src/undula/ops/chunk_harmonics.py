"""Damped harmonics over a sequence in chunks: their states between the chunks, and their sound under gains of a chunk.

A mode's state obeys s(t) = z s(t - 1) + u(t), z = exp(-decay + i frequency). Heads have modes of their own, which all E
channels of the head share. Complex numbers are pairs along the second axis, (re, im), so that sums over modes are real
matrix products. N heads, M modes, B batch, C chunks, E channels of a head, L steps of a chunk.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from undula.ops.harmonics import powers

BLOCK = 16
"""Chunks whose states one matrix product finds; blocks of them are chunks of the next level."""

Modes = Float[Tensor, "N M"]
States = Float[Tensor, "N 2 M B C E"]
Frames = Float[Tensor, "N B C E L"]
Table = Float[Tensor, "N 2 M L"]


def power_pairs(decay: Modes, frequency: Modes, steps: Int[Tensor, " L"]) -> Table:
    """Return z^t for every t of `steps`."""
    return torch.stack(powers(decay, frequency, steps), dim=1)


def turned(a: Float[Tensor, "N 2 *#shape"], b: Float[Tensor, "N 2 *#shape"]) -> Float[Tensor, "N 2 *shape"]:
    """Return the product of complex numbers, broadcast."""
    re, im = a.unbind(1)
    b_re, b_im = b.unbind(1)
    return torch.stack([torch.addcmul(re * b_re, im, b_im, value=-1), torch.addcmul(re * b_im, im, b_re)], dim=1)


def absorbed(u: Frames, table: Table) -> States:
    """Return what the inputs of each chunk leave in the states at its end: sum_j z^(L - 1 - j) u_j.

    Args:
        u: inputs.
        table: z^0 .. z^(L - 1).
    """
    rows = table.flip(-1).flatten(1, 2) @ u.flatten(1, 3).transpose(1, 2)
    return rows.unflatten(1, table.shape[1:3]).unflatten(-1, u.shape[1:4])


def carried(added: States, decay: Modes, frequency: Modes, length: int) -> Float[Tensor, "N 2 M B C1 E"]:
    """Return the states before every chunk and after the last, C + 1 of them, from what each chunk adds; before all: 0.

    S_c = sum over j < c of z^(length (c - 1 - j)) added_j. Within blocks of chunks as one product with a triangular
    table, between blocks in the same way: cost C, no loop over chunks, exact angles at any distance.

    Args:
        added: as `absorbed` gives it.
        decay: per step.
        frequency: radians per step.
        length: steps of a chunk.
    """
    chunks, rows = added.shape[4], added.shape[3]
    blocks = chunks // BLOCK + 1
    size = BLOCK if blocks > 1 else chunks + 1
    columns = F.pad(added, (0, 0, 0, blocks * size - chunks)).unflatten(4, (blocks, size))
    columns = rearrange(columns, "n two m b k j e -> n m (two j) (b k e)")
    table = _triangle(decay, frequency, length, size)
    if blocks > 1:
        totals = table[..., [size, -1], : 2 * size] @ columns
        totals = rearrange(totals, "n m two (b k e) -> n two m b k e", b=rows, k=blocks)
        starts = carried(totals, decay, frequency, length * size)[:, :, :, :, :-1]
        columns = torch.cat([columns, rearrange(starts, "n two m b k e -> n m two (b k e)")], 2)
    else:
        table = table[..., : 2 * size]
    states = torch.cat([table[..., :size, :], table[..., size + 1 : -1, :]], -2) @ columns
    states = rearrange(states, "n m (two i) (b k e) -> n two m b (k i) e", two=2, b=rows, k=blocks)
    return states[:, :, :, :, : chunks + 1]


def _triangle(decay: Modes, frequency: Modes, length: int, size: int) -> Float[Tensor, "N M rows columns"]:
    """From what each chunk of a block adds, and the state before the block, to the states before each and after all.

    z^(length (i - 1 - j)) for j < i and z^(length i), i = 0 .. size, as a real matrix on (re, im), one below the other;
    the state stands in the last two columns.
    """
    device = decay.device
    steps = torch.arange(size + 1, device=device)[:, None] - 1 - torch.arange(size, device=device)
    fades = power_pairs(decay, frequency, length * torch.arange(size + 1, device=device))
    re, im = torch.where(steps >= 0, fades[..., steps.clamp_min(0)], 0.0).unbind(1)
    far_re, far_im = fades[..., None].unbind(1)
    return torch.cat([torch.cat([re, -im, far_re, -far_im], -1), torch.cat([im, re, far_im, far_re], -1)], -2)


def sounded(weights: States, table: Table) -> Frames:
    """Return sum_m Re[w_m z_m^t] for every t of a table, chunk by chunk; table: powers of z."""
    rows = weights.flatten(1, 2).flatten(2).transpose(1, 2) @ _signed(table).flatten(1, 2)
    return rows.unflatten(1, weights.shape[3:])


def sounded_kept(weights: Float[Tensor, "N 2 K B C E"], table: Table, kept: Int[Tensor, "N K B C"]) -> Frames:
    """Return `sounded` of the K modes that each head and chunk keeps, at a cost that grows with K alone."""
    heads = torch.arange(len(table), device=table.device)[:, None, None, None]
    taken = _signed(table).transpose(1, 2)[heads, rearrange(kept, "n k b c -> n b c k")]
    return rearrange(weights, "n two k b c e -> n b c e (k two)") @ taken.flatten(-3, -2)


def taken(states: States, kept: Int[Tensor, "N K B C"]) -> Float[Tensor, "N 2 K B C E"]:
    """Return the states of the modes that each head and chunk keeps."""
    index = kept[:, None, ..., None].expand(-1, 2, -1, -1, -1, states.shape[-1])
    return states.gather(2, index)


def _signed(table: Table) -> Table:
    """(re, -im): its products with (re, im) add up to real parts."""
    return torch.stack([table[:, 0], -table[:, 1]], dim=1)
