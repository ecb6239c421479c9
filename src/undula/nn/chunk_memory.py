"""A bank of damped harmonics whose gains each chunk of a sequence sets anew, from what the chunks before it held."""

import math
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.nn.chunk_plan import ChunkPlan, ModeSelector, Plans, Sums
from undula.nn.shares import LEAST, MOST
from undula.ops.chunk_harmonics import (
    absorbed,
    carried,
    power_pairs,
    sounded,
    sounded_kept,
    taken,
    turned,
)
from undula.ops.fft import conv_rows
from undula.ops.phase import full_precision, wide_dtype

SMALL = 0.04
"""Size that the harmonics start with, beside a direct path of 1."""

LIMIT = 2.0
"""Most that the logarithm of a gain can move: gains lie between e^-2 and e^2 of their own."""

GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, modulo 1, fill the interval evenly, however many there are."""

Frames = Float[Tensor, "N B C E L"]
States = Float[Tensor, "N 2 M B C1 E"]
"""Before each chunk and after the last."""


class Memory(NamedTuple):
    """What is known of a sequence: states of modes, steps into the chunk, sums over chunks, and the chunk's plan."""

    modes: Float[Tensor, "B N 2 M E"]
    position: Int[Tensor, " B"]
    sums: Float[Tensor, "B N R R1"]
    plan: Float[Tensor, "B N P"]


class ChunkMemory(nn.Module):
    """y(t) = direct u(t) + sum_m Re[a_m g_cm s_m(t)], s_m(t) = z_m s_m(t - 1) + u(t), with gains g of the chunk c of t.

    Every head has M poles z, every channel weights a of its own. Gains e^(l + i theta), l bounded, come from the chunks
    before c alone: each chunk's summary, the powers of its last states in bands of frequency, gives a query, a key and
    a value; q_(c-1) sum_j<c phi(k_j) v_j^T, divided by q_(c-1) sum_j<c phi(k_j), is projected to l, theta and, where
    modes are selected, to scores. The first chunk has gains of 1. A head then keeps the k modes of the highest scores
    (log of their power, what the past says, a learned number) with weights of a relaxation that sums to the wanted k,
    the same in training and use. The others do not sound; their states are kept all the same, as a later chunk may
    choose them.

    Inside chunks: a convolution by transform, of 2 L points. Between them: the states, exactly. Cost T (log L + M), and
    C D for C chunks; all chunks at once. In float32 or wider.

    Args:
        d_model: channels.
        num_heads: heads; divides d_model.
        num_modes: poles M of each head.
        chunk_size: steps L of a chunk.
        num_bands: bands of frequency that summaries distinguish.
        sparsity: share of the modes that are kept, in (0, 1]; None: all.
        adaptive: each head learns its share, between 0.12 and 0.45, from `sparsity` or from the middle on.
        phase_aware: chunks set angles too; False: theta is 0.
        cross_frequency: what the past says of all bands counts in the choice of modes; False: each mode's power alone.

    Raises:
        ValueError: when heads do not divide the width, or a number is out of range.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_modes: int,
        chunk_size: int,
        num_bands: int,
        sparsity: float | None,
        adaptive: bool,
        phase_aware: bool = True,
        cross_frequency: bool = True,
    ) -> None:
        super().__init__()
        _check(d_model, num_heads, num_modes, chunk_size, num_bands)
        _check_share(sparsity, adaptive)
        self.heads, self.chunk_size, width = num_heads, chunk_size, d_model // num_heads
        self.decay_shift = nn.Parameter(0.2 * torch.randn(num_heads, num_modes))
        self.frequency_shift = nn.Parameter(0.1 * torch.randn(num_heads, num_modes))
        self.gain = nn.Parameter(SMALL * torch.randn(num_heads, 2, num_modes, width) / math.sqrt(2 * num_modes))
        self.direct = nn.Parameter(torch.ones(num_heads, width))
        selects = adaptive or sparsity is not None
        self.phase_aware = phase_aware
        self.plan = ChunkPlan(
            d_model, num_heads, num_modes, num_bands, 1 + phase_aware, selects, cross_frequency=cross_frequency
        )
        self.selector: ModeSelector | None = None
        if selects:
            share = (LEAST + MOST) / 2 if sparsity is None else sparsity
            self.selector = ModeSelector(num_heads, num_modes, share, adaptive)

    @property
    def modes(self) -> int:
        """Number of poles of each head."""
        return self.decay_shift.shape[1]

    def forward(self, u: Float[Tensor, "B D T"], leading: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B D T"]:
        """Return the outputs of whole sequences.

        Args:
            u: inputs, silent at padding.
            leading: steps of padding that each row begins with: its chunks are counted from its first real step.
        """
        past = self.no_past(len(u), device=u.device, dtype=self._wide(u))
        with full_precision(u):
            start = None if leading is None else -leading
            y, *_ = self._heard(self._frames(u, start, u.shape[-1]), past)
            return self._laid_out(y, u, start)

    def extend(
        self, u: Float[Tensor, "B D T"], leading: Int[Tensor, " B"] | None, memory: Memory
    ) -> tuple[Float[Tensor, "B D T"], Memory]:
        """Return the outputs of the next steps and the next memory; padding before them changes nothing."""
        with full_precision(u):
            start = memory.position if leading is None else memory.position - leading
            frames = self._frames(u, start, int(start.max()) + u.shape[-1])
            y, states, sums, plans = self._heard(frames, memory)
            after = self._after(frames, memory, start + u.shape[-1], states, sums, plans)
            return self._laid_out(y, u, start), after

    def _wide(self, like: Tensor | None = None) -> torch.dtype:
        return torch.promote_types((self.gain if like is None else like).dtype, torch.float32)

    def _poles(self, dtype: torch.dtype) -> tuple[Float[Tensor, "N M"], Float[Tensor, "N M"]]:
        """Decays and frequencies: parameters are what they differ by from where they start, so that rounding is small.

        In every head decays spread from half a step's forgetting to 500 steps of memory; frequencies are spread evenly
        over [0, pi) radians per step in the last head, over less and less of it down to none in the first.
        """
        heads, modes, device = self.heads, self.modes, self.decay_shift.device
        # In the widest type: a multiple of GOLDEN in float32 would be off by 1e-5 radians, and a mode turns 500 times.
        wide = wide_dtype(device)
        fast, slow = math.log(0.5), math.log(0.002)
        log_decay = fast + (slow - fast) * torch.arange(modes, device=device, dtype=wide) / max(modes - 1, 1)
        across = torch.arange(heads, device=device, dtype=wide)[:, None] / max(heads - 1, 1)
        place = torch.arange(heads * modes, device=device, dtype=wide).view(heads, modes) * GOLDEN % 1
        frequency = math.pi * across * place + self.frequency_shift.to(wide)
        return (log_decay + self.decay_shift.to(wide)).exp().to(dtype), frequency.to(dtype)

    def _frames(self, u: Float[Tensor, "B D T"], start: Int[Tensor, " B"] | None, reach: int) -> Frames:
        """Chunks of the inputs, the first step of each row standing at `start` of its first chunk.

        All rows end within `reach` steps from there. What ends within the first chunk makes a shorter one.
        """
        u, length = u.to(self._wide(u)), max(1, min(self.chunk_size, reach))
        if start is not None:
            index = torch.arange(max(1, reach), device=u.device) - start[:, None]
            inside = (index >= 0) & (index < u.shape[-1])
            index = index.clamp(0, u.shape[-1] - 1)[:, None].expand(-1, u.shape[1], -1)
            u = torch.where(inside[:, None], u.gather(-1, index), 0.0)
        u = F.pad(u, (0, -u.shape[-1] % length))
        return rearrange(u, "b (n e) (c l) -> n b c e l", n=self.heads, l=length).contiguous()

    def _laid_out(
        self, y: Frames, like: Float[Tensor, "B D T"], start: Int[Tensor, " B"] | None
    ) -> Float[Tensor, "B D T"]:
        """The steps of chunks where `_frames` took them from."""
        flat, steps = rearrange(y, "n b c e l -> b (n e) (c l)"), like.shape[-1]
        if start is None:
            return flat[..., :steps].to(like.dtype)
        index = (torch.arange(steps, device=y.device) + start[:, None]).clamp_min(0)
        return flat.gather(-1, index[:, None].expand(-1, flat.shape[1], -1)).to(like.dtype)

    def _heard(self, frames: Frames, memory: Memory) -> tuple[Frames, States, Sums, Plans]:
        """Outputs; states, sums and plans before each chunk and after the last. The first state is still to come.

        What the memory holds sounds from its position in the first chunk on, and is in the states from the second on.
        """
        decay, frequency = self._poles(frames.dtype)
        length, device = frames.shape[-1], frames.device
        table = power_pairs(decay, frequency, torch.arange(length + 1, device=device))
        modes = rearrange(memory.modes, "b n two m e -> n two m b e")
        added = absorbed(frames, table[..., :-1])
        # In place, in what only this method has seen: to join a changed first chunk and the others would copy them all.
        added[:, :, :, :, 0] += turned(modes, table[..., length - memory.position][..., None])
        states = carried(added, decay, frequency, length)
        plans, sums = self._plans(states[:, :, :, :, 1:], memory)
        here, weights, kept = self._chosen(states[:, :, :, :, :-1], plans[:, :-1])
        rings, tail = turned(here, weights), table[..., 1:]
        if kept is None:
            filters, y = sounded(weights, table[..., :-1]), sounded(rings, tail)
        else:
            filters, y = sounded_kept(weights, table[..., :-1], kept), sounded_kept(rings, tail, kept)
        filters[..., 0] += self.direct.to(decay.dtype)[:, None, None]
        y = y + conv_rows(frames.flatten(0, 3)[None], filters.flatten(0, 3))[0].view_as(frames)
        ringing = self._late(memory, weights[:, :, :, :, 0], None if kept is None else kept[..., :1], tail)
        y[:, :, 0] += ringing
        return y, states, sums, plans

    def _late(
        self,
        memory: Memory,
        weights: Float[Tensor, "N 2 K B E"],
        kept: Int[Tensor, "N K B 1"] | None,
        tail: Float[Tensor, "N 2 M L"],
    ) -> Float[Tensor, "N B E L"]:
        """What a memory adds to its chunk: its past rings from where it stands, not from the chunk's start."""
        since = (torch.arange(tail.shape[-1], device=tail.device) - memory.position[:, None]).clamp_min(0)
        past, late = rearrange(memory.modes, "b n two m e -> n two m b e"), tail[..., since]
        if kept is not None:
            past, late = (taken(part[:, :, :, :, None], kept)[..., 0, :] for part in (past, late))
        past = turned(past, weights)
        ringing = torch.einsum("nmbe,nmbl->nbel", past[:, 0], late[:, 0])
        return ringing - torch.einsum("nmbe,nmbl->nbel", past[:, 1], late[:, 1])

    def _plans(self, states: Float[Tensor, "N 2 M B C E"], memory: Memory) -> tuple[Plans, Sums]:
        """Plans and sums before each chunk and after the last, from the states at their ends."""
        decay, frequency = self._poles(states.dtype)
        power = (states[:, 0].square() + states[:, 1].square()) * -torch.expm1(-2 * decay)[..., None, None, None]
        return self.plan(power, frequency, memory.sums, memory.plan)

    def _gains(
        self, plans: Float[Tensor, "B C N P"]
    ) -> tuple[Float[Tensor, "N 2 K B C"], Int[Tensor, "N K B C"] | None]:
        """Gains of the modes of each chunk, or of the K that may be kept and which these are."""
        plan = rearrange(plans, "b c n (p m) -> p b c n m", m=self.modes)
        size = (LIMIT * torch.tanh(plan[0] / LIMIT)).exp()
        angle = plan[1] if self.phase_aware else torch.zeros_like(size)
        kept = None
        if self.selector is not None:
            share, kept = self.selector(plan[-1])
            size, angle = size.gather(-1, kept) * share, angle.gather(-1, kept)
            kept = rearrange(kept, "b c n k -> n k b c")
        pairs = torch.stack([size * angle.cos(), size * angle.sin()])
        return rearrange(pairs, "two b c n k -> n two k b c"), kept

    def _chosen(
        self, states: Float[Tensor, "N 2 M B C E"], plans: Float[Tensor, "B C N P"]
    ) -> tuple[Float[Tensor, "N 2 K B C E"], Float[Tensor, "N 2 K B C E"], Int[Tensor, "N K B C"] | None]:
        """States and weights of the modes that sound in each chunk, and which these are (None: all)."""
        gains, kept = self._gains(plans)
        weights = self.gain.to(states.dtype)[:, :, :, None, None]
        if kept is not None:
            states, weights = taken(states, kept), taken(weights.expand(-1, -1, -1, *kept.shape[2:], -1), kept)
        return states, turned(weights, gains[..., None]), kept

    @torch.no_grad()
    def kept(self, u: Float[Tensor, "B D T"], leading: Int[Tensor, " B"] | None = None) -> Bool[Tensor, "B C N M"]:
        """Return which modes each head computes with in each chunk; arguments as for `forward`."""
        with full_precision(u):
            frames = self._frames(u, None if leading is None else -leading, u.shape[-1])
            plans = self._heard(frames, self.no_past(len(u), device=u.device, dtype=frames.dtype))[-1][:, :-1]
            scores = plans[..., -self.modes :]
            return torch.ones_like(scores, dtype=torch.bool) if self.selector is None else self.selector.chosen(scores)

    def _after(
        self, frames: Frames, memory: Memory, steps: Int[Tensor, " B"], states: States, sums: Sums, plans: Plans
    ) -> Memory:
        """The memory after `steps` steps from the start of the first chunk."""
        length, rows = frames.shape[-1], torch.arange(len(steps), device=steps.device)
        chunk, position = steps // self.chunk_size, steps % self.chunk_size
        decay, frequency = self._poles(frames.dtype)
        table = power_pairs(decay, frequency, torch.arange(length + 1, device=steps.device))
        index = steps[:, None] - length + torch.arange(length, device=steps.device)
        begun = (index >= (chunk * length)[:, None]) & (index >= 0)
        flat = rearrange(frames, "n b c e l -> b (n e) (c l)")
        recent = flat.gather(-1, index.clamp_min(0)[:, None].expand(-1, flat.shape[1], -1))
        recent = rearrange(torch.where(begun[:, None], recent, 0.0), "b (n e) l -> n b 1 e l", n=self.heads)
        modes = absorbed(recent, table[..., :-1])[:, :, :, :, 0]
        modes = modes + turned(states[:, :, :, rows, chunk], table[..., position][..., None])
        faded = table[..., (steps - memory.position).clamp_max(length)][..., None]
        old = turned(rearrange(memory.modes, "b n two m e -> n two m b e"), faded)
        modes = torch.where((chunk == 0)[:, None], modes + old, modes)
        return Memory(rearrange(modes, "n two m b e -> b n two m e"), position, sums[rows, chunk], plans[rows, chunk])

    def step(
        self, u: Float[Tensor, "B D"], real: Bool[Tensor, " B"] | None, memory: Memory
    ) -> tuple[Float[Tensor, "B D"], Memory]:
        """Return one output and the next memory, at a cost of M operations for each channel."""
        wide = self._wide(u)
        with full_precision(u):
            decay, frequency = self._poles(wide)
            now = power_pairs(decay, frequency, torch.ones(1, dtype=torch.long, device=u.device))
            fresh = u.to(wide).unflatten(-1, (self.heads, -1))
            old = rearrange(memory.modes, "b n two m e -> n two m b e")
            new = turned(old, now[..., None])
            new = torch.stack([new[:, 0] + rearrange(fresh, "b n e -> n 1 b e"), new[:, 1]], 1)
            here, weights, _ = self._chosen(new[:, :, :, :, None], memory.plan[:, None])
            y = self.direct.to(wide) * fresh + turned(here, weights)[:, 0].sum(1)[:, :, 0].transpose(0, 1)
            there = torch.ones_like(memory.position) if real is None else real.long()
            modes = torch.where(there.bool()[:, None], new, old)
            after = Memory(rearrange(modes, "n two m b e -> b n two m e"), memory.position + there, *memory[2:])
            return y.flatten(1).to(u.dtype), self._turned_page(after, modes)

    def _turned_page(self, memory: Memory, modes: Float[Tensor, "N 2 M B E"]) -> Memory:
        """The memory with a new plan in the rows whose chunk is full."""
        full = memory.position == self.chunk_size
        if not full.any():
            return memory
        plans, sums = self._plans(modes[:, :, :, :, None], memory)
        there = full[:, None, None]
        return Memory(
            memory.modes,
            torch.where(full, 0, memory.position),
            torch.where(there[..., None], sums[:, 1], memory.sums),
            torch.where(there, plans[:, 1], memory.plan),
        )

    def no_past(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Memory:
        """Return the memory before the first step: silence."""
        parts = (self.heads, 2, self.modes, self.gain.shape[-1])
        return Memory(
            torch.zeros(batch_size, *parts, device=device, dtype=dtype),
            torch.zeros(batch_size, dtype=torch.long, device=device),
            *self.plan.no_past(batch_size, device, dtype),
        )


def _check(d_model: int, num_heads: int, num_modes: int, chunk_size: int, num_bands: int) -> None:
    sizes = {"num_heads": num_heads, "num_modes": num_modes, "chunk_size": chunk_size, "num_freq_bands": num_bands}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}; wanted at least 1")
    if d_model % num_heads:
        raise ValueError(f"d_model={d_model} is not a multiple of num_heads={num_heads}; make them agree")


def _check_share(sparsity: float | None, adaptive: bool) -> None:
    if sparsity is None:
        return
    if adaptive and not LEAST <= sparsity <= MOST:
        raise ValueError(f"sparsity={sparsity}; adaptive heads keep {LEAST} to {MOST} of their modes, and begin there")
    if not 0 < sparsity <= 1:
        raise ValueError(
            f"sparsity={sparsity}; wanted the share of modes to keep, above 0 and up to 1, or None for all"
        )
