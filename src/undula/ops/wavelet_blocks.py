"""Wavelet levels as matrix products of blocks: the fast way of `ops.wavelet` on a CPU.

Blocks of 2 m samples E and of coefficients Y = [m approximations | m details] belong together by Y = E T + E' U, where
E' is the first L - 2 samples of the block that follows, and back by the transposed products. T over U is the band
matrix. Each row ends with a block that no coefficient needs, so rows never touch.

How values lie in memory decides how fast the products are. With MKL on one core of an AMD EPYC, 4,128 blocks of 16
times the square part of the band take 161 us in float64 where the values of a block lie side by side, and 81 where the
blocks do; 36 and 42 in float32. Adding to 6 of 16 columns takes 100 us in float32, adding to all of them 34.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Room = TypeVar("Room")

GROUP = 2**18
"""Samples of the rows that are taken together through all levels: small enough for the cache."""


@dataclass(frozen=True)
class Span:
    """Where a level's samples lie.

    Args:
        length: samples.
        half: approximations, and as many details.
        left: samples that are added before the first.
        whole: samples with those that are added before and after.
        outside: positions in the whole that copy another one; the rest of what is added is zero.
        copied: positions that those copy.
    """

    length: int
    half: int
    left: int
    whole: int
    outside: tuple[int, ...]
    copied: tuple[int, ...]

    @classmethod
    def of(cls, length: int, taps: int, mode: str) -> "Span":
        """Return where the samples of a level lie that is given a signal."""
        periodic = mode == "periodization"
        half, left = ((length + 1) // 2, taps // 2 - 1) if periodic else ((length + taps - 1) // 2, taps - 2)
        whole = 2 * (half - 1) + taps
        at = [*range(left), *range(left + length, whole)]
        sources = [_source(i - left, length, mode) for i in at]
        pairs = [(i, left + source) for i, source in zip(at, sources, strict=True) if source is not None]
        return cls(length, half, left, whole, tuple(i for i, _ in pairs), tuple(source for _, source in pairs))

    @classmethod
    def inverse(cls, length: int, taps: int, mode: str) -> "Span":
        """Return where the samples of a level lie that is put together: they wrap around or are cut off."""
        if mode != "periodization":
            return cls.of(length, taps, "zero")
        even = cls.of(length + length % 2, taps, mode)
        last = even.left + length if length % 2 else None
        pairs = [pair for pair in zip(even.outside, even.copied, strict=True) if pair[1] != last]
        outside, copied = tuple(i for i, _ in pairs), tuple(source for _, source in pairs)
        return cls(length, even.half, even.left, even.whole, outside, copied)

    def extended(self, x: Float[Tensor, "R T"]) -> Float[Tensor, "R all"]:
        """Return the samples with what is added around them."""
        after = self.whole - self.left - self.length
        if not self.outside:
            return F.pad(x, (self.left, after))
        source = dict(zip(self.outside, self.copied, strict=True))
        # One sample more, a zero, for the positions that copy none.
        index = [source.get(i, self.left + self.length) - self.left for i in range(self.left)]
        index += list(range(self.length))
        index += [source.get(i, self.left + self.length) - self.left for i in range(self.whole - after, self.whole)]
        return F.pad(x, (0, 1)).index_select(1, torch.tensor(index, device=x.device))

    def folded(self, whole: Float[Tensor, "R all"]) -> Float[Tensor, "R T"]:
        """Return the samples, each with what was added around them in copies of it."""
        inside = whole[:, self.left : self.left + self.length]
        if not self.outside:
            return inside
        outside, copied = (torch.tensor(i, device=whole.device) for i in (self.outside, self.copied))
        return inside.index_add(1, copied - self.left, whole.index_select(1, outside))


def _source(at: int, length: int, mode: str) -> int | None:
    """The sample that a position outside of the signal copies; None: zero."""
    if mode == "zero":
        return None
    if mode == "periodization":  # of odd length: the last sample stands twice
        return min(at % (length + length % 2), length - 1)
    period = 2 * length if mode == "symmetric" else max(2 * length - 2, 1)
    at %= period
    return at if at < length else period - at - (mode == "symmetric")


def level_spans(length: int, taps: int, levels: int, mode: str) -> list[Span]:
    """Return where the samples of each level lie, finest first."""
    spans = [Span.of(length, taps, mode)]
    while len(spans) < levels:
        spans.append(Span.of(spans[-1].half, taps, mode))
    return spans


def band_matrix(taps: Float[Tensor, "2 L"]) -> Float[Tensor, "rows columns"]:
    """Return B(i, c m + n) = taps_c(i - 2 n) for i < 2 m + L - 2 and n < m.

    m is the least multiple of 8 for which what a block needs of others lies in the one that follows.
    """
    length = taps.shape[1]
    m = 8 * max(1, -(-(length - 2) // 16))
    at = torch.arange(2 * m + length - 2, device=taps.device)[:, None] - 2 * torch.arange(m, device=taps.device)
    inside = (at >= 0) & (at < length)
    return torch.cat([torch.where(inside, tap[at.clamp(0, length - 1)], 0.0) for tap in taps.unbind()], dim=1)


def huge_empty(rows: int, columns: int, like: Tensor) -> Float[Tensor, "rows columns"]:
    """Return a tensor to be filled.

    NumPy asks the system for huge pages and torch does not: first touch of a large result costs a quarter of the time.
    """
    values = np.empty((rows, columns), dtype={torch.float32: np.float32, torch.float64: np.float64}[like.dtype])
    return torch.from_numpy(values)


def split_level(x: Float[Tensor, "R T"], band: Tensor, span: Span) -> tuple[Float[Tensor, "R M"], Float[Tensor, "R M"]]:
    """Return one level's approximations and details by plain operations, which every device and compiler has."""
    wide = band.shape[1]
    blocks, half = -(-span.half // (wide // 2)), wide // 2
    whole = F.pad(span.extended(x), (0, blocks * wide + len(band) - wide - span.whole))
    made = whole.unfold(1, len(band), wide) @ band
    approx, detail = (made[..., part : part + half].flatten(1)[:, : span.half] for part in (0, half))
    return approx, detail


def merge_level(
    approx: Float[Tensor, "R M"], detail: Float[Tensor, "R M"], band: Tensor, span: Span
) -> Float[Tensor, "R T"]:
    """Return what `split_level` takes apart, by plain operations."""
    wide = band.shape[1]
    blocks, half = -(-span.half // (wide // 2)), wide // 2
    parts = [F.pad(t, (0, blocks * half - span.half)).unflatten(1, (blocks, half)) for t in (approx, detail)]
    made = torch.cat(parts, dim=2) @ band.t()
    near, far = made[..., :wide].flatten(1), F.pad(made[..., wide:], (0, 2 * wide - len(band))).flatten(1)
    whole = F.pad(near, (0, wide)) + F.pad(far, (wide, 0))
    return span.folded(whole[:, : span.whole])


class Pyramid:
    """Room for the samples and coefficients of some rows at every level, and the steps between them.

    Args:
        spans: of the levels, finest first.
        band: from `band_matrix`; everything inside has its type, while rows that come and go may have another.
        rows: how many at most.
    """

    def __init__(self, spans: Sequence[Span], band: Tensor, rows: int) -> None:
        self.spans = spans
        wide = band.shape[1]
        self.near, self.far = band[:wide].contiguous(), band[wide:].contiguous()
        blocks = [-(-span.half // (wide // 2)) + 1 for span in spans]
        self.samples = [band.new_zeros(rows, n, wide) for n in blocks]
        if band.dtype == torch.float64:  # what a product makes has its blocks side by side
            made = [[band.new_zeros(wide, rows, n).permute(1, 2, 0) for n in blocks] for _ in range(2)]
            self.coefficients, self.merged, self.back = *made, self.far.t()
        else:
            self.coefficients = [torch.zeros_like(samples) for samples in self.samples]
            self.merged, self.back = self.samples, F.pad(self.far.t(), (0, wide - len(self.far)))
        self.copies = [(torch.tensor(s.outside), torch.tensor(s.copied)) if s.outside else None for s in spans]

    def down(self, x: Float[Tensor, "R T"]) -> None:
        """Compute the coefficients of a group of rows at every level."""
        for level, span in enumerate(self.spans):
            samples = self._line(level, len(x))
            inside = samples[:, span.left : span.left + span.length]
            if level == 0:
                inside.copy_(x)
            else:
                _from_blocks(self.parts(level - 1, len(x))[0], inside)
            copies = self.copies[level]
            if copies is not None:
                samples.index_copy_(1, copies[0], samples[:, copies[1]])
            given, made = self._flat(level, len(x))
            torch.mm(given, self.near, out=made)
            if len(self.far):
                made[:-1].addmm_(given[1:, : len(self.far)], self.far)

    def up(self, coefficients: Sequence[Tensor | None], rows: slice) -> Float[Tensor, "R T"]:
        """Put a group of rows together (None: zeros); the result is overwritten by the next group."""
        count = rows.stop - rows.start
        x = coefficients[0]
        for level in reversed(range(len(self.spans))):
            span, parts = self.spans[level], self.parts(level, count)
            for part, values in zip(parts, (x, coefficients[level + 1]), strict=True):
                _into_blocks(values, part)
            merged, given = (t[level][:count].flatten(0, 1) for t in (self.merged, self.coefficients))
            torch.mm(given, self.near.t(), out=merged)
            if len(self.far):
                merged[1:, : self.back.shape[1]].addmm_(given[:-1], self.back)
            if self.merged is not self.samples:
                self.samples[level][:count].copy_(self.merged[level][:count])
            samples = self._line(level, count)
            copies = self.copies[level]
            if copies is not None:
                samples.index_add_(1, copies[1], samples[:, copies[0]])
            x = samples[:, span.left : span.left + span.length]
        finest = self.spans[0]
        return self._line(0, count)[:, finest.left : finest.left + finest.length]

    def read(self, out: Sequence[Tensor], rows: slice) -> None:
        """Write the coefficients of a group of rows: the last approximations, then the details."""
        count = rows.stop - rows.start
        _from_blocks(self.parts(-1, count)[0], out[0][rows])
        for level, detail in enumerate(out[1:]):
            _from_blocks(self.parts(level, count)[1], detail[rows])

    def parts(self, level: int, rows: int) -> tuple[Tensor, Tensor]:
        """Return a level's approximations and details, in blocks."""
        approx, detail = self.coefficients[level][:rows].chunk(2, dim=-1)
        return approx, detail

    def add_products(self, other: "Pyramid", rows: int, total: Tensor) -> None:
        """Add our samples times the other's coefficients, the derivative by the band matrix, to a total."""
        wide = len(self.near)
        for level in range(len(self.spans)):
            given, made = self._flat(level, rows)[0], other._flat(level, rows)[1]
            total[:wide].addmm_(given.t(), made)
            total[wide:].addmm_(given[1:, : len(self.far)].t(), made[:-1])

    def _line(self, level: int, rows: int) -> Tensor:
        return self.samples[level][:rows].flatten(1)

    def _flat(self, level: int, rows: int) -> tuple[Tensor, Tensor]:
        return self.samples[level][:rows].flatten(0, 1), self.coefficients[level][:rows].flatten(0, 1)


def group_size(rows: int, spans: Sequence[Span]) -> int:
    """Return how many rows are taken together."""
    return max(1, min(rows, GROUP // spans[0].whole))


def in_groups(rows: int, group: int, make: Callable[[], Room], step: Callable[[Room, slice], None]) -> None:
    """Do a step for each group of so many rows, groups on threads of their own.

    A group is thousands of small operations. Sharing each of them among threads means that threads wait for each other
    thousands of times: with any other load on the machine, one that is not on a processor holds up the rest for a slice
    of its time (measured: 30 s for what one thread does in 0.35 s). So each thread takes every n-th group, and computes
    by itself.

    Args:
        rows: how many there are.
        group: how many are taken together.
        make: gives the room that a thread works in.
        step: what is done, with that room and the group's rows; groups must not depend on each other.
    """
    threads = torch.get_num_threads()
    groups = [slice(start, min(start + group, rows)) for start in range(0, rows, group)]
    workers = min(threads, len(groups))

    def work(first: int) -> None:
        # A new thread knows neither: gradients would be recorded, and each operation shared among threads.
        with torch.no_grad():
            torch.set_num_threads(1)
            room = make()
            for taken in groups[first::workers]:
                step(room, taken)

    try:
        if workers == 1:
            work(0)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, range(workers)))
    finally:
        torch.set_num_threads(threads)


def _from_blocks(blocks: Float[Tensor, "R n m"], out: Float[Tensor, "R M"]) -> None:
    """Write the first values of blocks side by side."""
    size = blocks.shape[2]
    full, rest = divmod(out.shape[1], size)
    if full:
        out[:, : full * size].unflatten(1, (full, size)).copy_(blocks[:, :full])
    if rest:
        out[:, full * size :].copy_(blocks[:, full, :rest])


def _into_blocks(values: Float[Tensor, "R M"] | None, blocks: Float[Tensor, "R n m"]) -> None:
    """Write values into blocks, and zeros after them."""
    if values is None:
        blocks.zero_()
        return
    size = blocks.shape[2]
    full, rest = divmod(values.shape[1], size)
    if full:
        blocks[:, :full].copy_(values[:, : full * size].unflatten(1, (full, size)))
    if rest:
        blocks[:, full, :rest].copy_(values[:, full * size :])
