"""Interference of waves as attention weights: exact, in tiles, without a tensor of times x times x waves.

Two waves with amplitudes A, frequencies w and phases p, heard at the times of a query and a key, have the intensity
I = A_q^2 + A_k^2 + 2 A_q A_k cos(theta); it is at most E = (A_q + A_k)^2. A weight is sum_waves I / sum_waves E, here
computed as 1 - 2 Y / sum E with Y = sum_waves A_q A_k (1 - cos theta): exactly 1 where a wave meets itself.
"""

import math
from collections.abc import Iterator

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from undula.ops.phase import full_precision, wide_dtype, wrap_phase

QUERIES, KEYS = 32, 128
"""Queries and keys of a tile; angles inside it stay below KEYS / 2 half turns, which float32 holds to 1e-5 rad."""

TILE_ELEMENTS = {"cpu": 2**19}
"""Cosines evaluated at once, by type of device: on a CPU what its caches hold, elsewhere 2^24."""


def interference(
    amplitude: Float[Tensor, "B N S W"],
    phase: Float[Tensor, "B N S W"],
    v: Float[Tensor, "B N S E"],
    frequency: Float[Tensor, "B N S W"] | None = None,
    *,
    queries: int | None = None,
    causal: bool = True,
    key_mask: Bool[Tensor, "B S"] | None = None,
    contrast: float = 1.0,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "B N T E"], Float[Tensor, "B N T"]]:
    """Return sum_k r_qk v_k and sum_k r_qk for the last `queries` of S positions, r the weights of interference.

    r_qk = (sum_waves I / sum_waves E)^contrast, with theta = (w_q - w_k)(t_q - t_k) + p_q - p_k, times in steps.
    Without frequencies theta = p_q - p_k: phases evolved to their own time, where I is a product of two matrices.

    O(T S W) time and O(S W) memory (with dropout, a byte for each pair more): the backward pass computes each tile
    again, its gradients are by hand. Float32 or wider whatever the inputs; angles are reduced to one turn in float64.

    Args:
        amplitude: not negative.
        phase: in radians.
        v: what is summed.
        frequency: in radians per step.
        queries: how many of the positions ask; all by default.
        causal: hide keys after the query's own position.
        key_mask: True at real keys; None when all are real.
        contrast: exponent of the weights, above 0.
        dropout: probability of dropping a weight of the first sum (give 0 outside training).

    Source: Wave-Native GPT, "Key Physics Principles".
    """
    dtype = torch.promote_types(v.dtype, torch.float32)
    batch, heads, steps = v.shape[:3]
    queries = steps if queries is None else queries
    kept = None
    if dropout:
        kept = torch.empty(batch * heads, queries, steps, dtype=torch.bool, device=v.device).bernoulli_(1 - dropout)
        v = v / (1 - dropout)
    hidden = None if key_mask is None else ~key_mask.repeat_interleave(heads, dim=0)
    # Times innermost in memory too: every pass over a tile runs along them.
    waves = [
        None if w is None else rearrange(w.to(dtype), "b n s w -> (b n) w s").contiguous()
        for w in (amplitude, phase, frequency)
    ]
    values = rearrange(v.to(dtype), "b n s e -> (b n) s e")
    out, total = _Interference.apply(*waves, values, kept, hidden, queries, causal, contrast)
    return rearrange(out, "(b n) t e -> b n t e", b=batch).to(v.dtype), rearrange(total, "(b n) t -> b n t", b=batch)


def intensity_features(
    amplitude: Float[Tensor, "B N T W"], phase: Float[Tensor, "B N T W"]
) -> tuple[Float[Tensor, "B N T F"], Float[Tensor, "B N T F"]]:
    """Return vectors of queries and of keys whose product is sum_waves A_q^2 + A_k^2 + 2 A_q A_k cos(p_q - p_k)."""
    return _with_squares(amplitude, torch.cat([amplitude * phase.cos(), amplitude * phase.sin()], dim=-1))


def energy_features(
    amplitude: Float[Tensor, "B N T W"],
) -> tuple[Float[Tensor, "B N T F"], Float[Tensor, "B N T F"]]:
    """Return vectors of queries and of keys whose product is sum_waves (A_q + A_k)^2."""
    return _with_squares(amplitude, amplitude)


def _with_squares(amplitude: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    power, one = amplitude.square().sum(-1, keepdim=True), torch.ones_like(amplitude[..., :1])
    return torch.cat([power, one, 2 * vectors], dim=-1), torch.cat([one, power, vectors], dim=-1)


class _Interference(torch.autograd.Function):
    """The two sums and their gradients, tile by tile; R rows are pairs of sample and head, tiles are (R, C, K)."""

    @staticmethod
    def forward(ctx, amplitude, phase, frequency, v, kept, hidden, queries, causal, contrast):  # noqa: ANN001, ANN205
        """Return the weighted sums (R, T, E) and the sums of weights (R, T)."""
        ctx.save_for_backward(amplitude, phase, frequency, v, kept, hidden)
        ctx.options = (queries, causal, contrast)
        out = v.new_zeros(v.shape[0], queries, v.shape[2])
        total = v.new_zeros(v.shape[0], queries)
        first = v.shape[1] - queries
        with full_precision(v):
            energies, phases = _Energies(amplitude), _phases(amplitude, phase, frequency, keep=False)
            for r, q, k in _tiles(phases.pace, first, causal):
                rows = slice(q.start - first, q.stop - first)
                weight, _ = _weights(phases.lost(r, q, k), energies.tile(r, q, k), contrast)
                _hide(weight, r, q, k, causal, hidden)
                total[r, rows] += weight.sum(-1)
                if kept is not None:
                    weight.mul_(kept[r, rows, k])
                out[r, rows].baddbmm_(weight, v[r, k])
        return out, total

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, d_total):  # noqa: ANN001, ANN205
        """Return the gradients of the waves and the values."""
        amplitude, phase, frequency, v, kept, hidden = ctx.saved_tensors
        queries, causal, contrast = ctx.options
        d_v = torch.zeros_like(v)
        first = v.shape[1] - queries
        with full_precision(v):
            energies, phases = _Energies(amplitude), _phases(amplitude, phase, frequency, keep=True)
            for r, q, k in _tiles(phases.pace, first, causal):
                rows = slice(q.start - first, q.stop - first)
                lost, energy = phases.lost(r, q, k), energies.tile(r, q, k)
                weight, slope = _weights(lost, energy, contrast)
                d_weight = torch.bmm(d_out[r, rows], v[r, k].mT)
                if kept is not None:
                    d_weight.mul_(kept[r, rows, k])
                d_weight.add_(d_total[r, rows, None])
                if slope is not None:
                    d_weight.mul_(slope)
                for tile in (weight, d_weight):
                    _hide(tile, r, q, k, causal, hidden)
                if kept is not None:
                    weight.mul_(kept[r, rows, k])
                d_v[r, k].baddbmm_(weight.mT, d_out[r, rows])
                d_lost = d_weight.mul_(-2).div_(energy)
                energies.add(r, q, k, lost.mul_(d_lost).div_(energy).neg_())
                phases.add(r, q, k, d_lost)
        d_amplitude = energies.slope.add_(phases.amplitude_slope)
        return d_amplitude, *phases.slopes(), d_v, None, None, None, None, None


def _tiles(cosines: Tensor, first: int, causal: bool) -> Iterator[tuple[slice, slice, slice]]:
    """Tiles as slices of rows, queries and keys; queries are the positions from `first` on.

    Those of one block of KEYS x KEYS follow one another.
    """
    rows, _, steps = cosines.shape
    some, asked = _size(cosines)
    for row in range(0, rows, some):
        r = slice(row, min(row + some, rows))
        for block in range(first - first % KEYS, steps, KEYS):
            end = min(block + KEYS, steps)
            for key in range(0, end if causal else steps, KEYS):
                for query in range(max(block, first), end, asked):
                    stop = min(query + asked, end)
                    seen = min(key + KEYS, stop if causal else steps)
                    if seen > key:
                        yield r, slice(query, stop), slice(key, seen)


def _size(cosines: Tensor) -> tuple[int, int]:
    """Return how many rows and queries a tile has, given a tensor (R, cosines for each pair, S)."""
    most = TILE_ELEMENTS.get(cosines.device.type, 2**24) // (cosines.shape[1] * QUERIES * KEYS)
    rows = max(1, min(most, cosines.shape[0]))
    # Where rows do not fill a tile, more queries do.
    return rows, QUERIES * max(1, min(most // rows, KEYS // QUERIES))


def _weights(lost: Tensor, energy: Tensor, contrast: float) -> tuple[Tensor, Tensor | None]:
    """Return (1 - 2 Y / E)^contrast, and its slope in the base where that is not 1."""
    ratio = torch.addcdiv(torch.ones((), dtype=lost.dtype, device=lost.device), lost, energy, value=-2)
    if contrast == 1:
        return ratio, None
    ratio.clamp_min_(torch.finfo(lost.dtype).eps)
    return ratio**contrast, contrast * ratio ** (contrast - 1)


def _hide(tile: Tensor, r: slice, q: slice, k: slice, causal: bool, hidden: Tensor | None) -> None:
    """Put zero where a key lies after its query, or is not real."""
    if causal and k.stop > q.start + 1:
        keys, queries = (torch.arange(s.start, s.stop, device=tile.device) for s in (k, q))
        tile.masked_fill_(keys > queries[:, None], 0)
    if hidden is not None:
        tile.masked_fill_(hidden[r, None, k], 0)


class _Energies:
    """sum E of tiles, a product of two matrices, and the gradient of the amplitudes (R, W, S) through it."""

    def __init__(self, amplitude: Tensor) -> None:
        self.amplitude, self.slope = amplitude, torch.zeros_like(amplitude)
        self.power = amplitude.square().sum(1)
        # Waves fainter than this meet with weight 1, as silence does, and no quotient overflows.
        self.least = torch.finfo(amplitude.dtype).tiny ** 0.5

    def tile(self, r: slice, q: slice, k: slice) -> Tensor:
        """Return |A_q|^2 + |A_k|^2 + 2 A_q . A_k."""
        energy = torch.bmm(self.amplitude[r, :, q].mT, self.amplitude[r, :, k]).mul_(2)
        return energy.add_(self.power[r, q, None]).add_(self.power[r, None, k]).clamp_min_(self.least)

    def add(self, r: slice, q: slice, k: slice, d_energy: Tensor) -> None:
        """Add what a tile's gradient means for the amplitudes."""
        a_q, a_k = self.amplitude[r, :, q], self.amplitude[r, :, k]
        to_q = torch.bmm(a_k, d_energy.mT).addcmul_(a_q, d_energy.sum(2)[:, None])
        to_k = torch.bmm(a_q, d_energy).addcmul_(a_k, d_energy.sum(1)[:, None])
        self.slope[r, :, q].add_(to_q, alpha=2)
        self.slope[r, :, k].add_(to_k, alpha=2)


def _phases(amplitude: Tensor, phase: Tensor, frequency: Tensor | None, keep: bool) -> "_Evolved | _Turning":
    return _Evolved(amplitude, phase) if frequency is None else _Turning(amplitude, phase, frequency, keep)


class _Evolved:
    """Y of tiles for phases that have evolved to their own time: a product of two matrices."""

    def __init__(self, amplitude: Tensor, phase: Tensor) -> None:
        self.cos, self.sin = phase.cos(), phase.sin()
        self.vectors = torch.cat([amplitude, amplitude * self.cos, amplitude * self.sin], dim=1)
        self.signed = torch.cat([amplitude, -amplitude * self.cos, -amplitude * self.sin], dim=1)
        self.slope = torch.zeros_like(self.vectors)
        # No cosine of a tile has an axis of waves.
        self.pace = amplitude[:, :1]

    def lost(self, r: slice, q: slice, k: slice) -> Tensor:
        """Return sum A_q A_k - A_q A_k cos(p_q - p_k)."""
        return torch.bmm(self.vectors[r, :, q].mT, self.signed[r, :, k])

    def add(self, r: slice, q: slice, k: slice, d_lost: Tensor) -> None:
        """Add what a tile's gradient means for the vectors."""
        self.slope[r, :, q].baddbmm_(self.signed[r, :, k], d_lost.mT)
        self.slope[r, :, k].baddbmm_(self.signed[r, :, q], d_lost)

    @property
    def amplitude_slope(self) -> Tensor:
        """Gradient of the amplitudes."""
        of_itself, of_cos, of_sin = self.slope.chunk(3, dim=1)
        return of_itself + of_cos * self.cos + of_sin * self.sin

    def slopes(self) -> tuple[Tensor, None]:
        """Return the gradients of the phases and of no frequencies."""
        _, of_cos, of_sin = self.slope.chunk(3, dim=1)
        amplitude = self.vectors.chunk(3, dim=1)[0]
        return amplitude * (of_sin * self.cos - of_cos * self.sin), None


class _Turning:
    """Y of tiles for waves with frequencies: a cosine for each query, key and wave, (R, W, C, K).

    With `keep` a tile's angles and cosines stay for `add`.
    """

    def __init__(self, amplitude: Tensor, phase: Tensor, frequency: Tensor, keep: bool) -> None:
        self.phase, self.frequency = phase, frequency
        # Times are whole numbers: whole turns per step change nothing.
        self.step = wrap_phase(frequency.to(wide_dtype(phase.device))).to(phase.dtype)
        self.amplitude = self.pace = amplitude
        self.amplitude_slope = torch.zeros_like(amplitude)
        self.phase_slope, self.frequency_slope = torch.zeros_like(phase), torch.zeros_like(phase)
        self.block = None
        # The same memory for every tile: fresh pages for each would cost as much as the arithmetic.
        one = phase.new_empty(math.prod(_size(amplitude)) * amplitude.shape[1] * KEYS)
        self.work = [one, torch.empty_like(one), torch.empty_like(one)] if keep else [one, one, one]

    def lost(self, r: slice, q: slice, k: slice) -> Tensor:
        """Return sum A_q A_k (1 - cos theta)."""
        a_q, a_k = self.amplitude[r, :, q, None], self.amplitude[r, :, None, k]
        shape = (a_q.shape[0], a_q.shape[1], a_q.shape[2], a_k.shape[3])
        # One tensor laid out keys innermost: broadcasting alone would choose queries, and every pass would stride.
        self.angle, self.fall, faint = (buffer[: math.prod(shape)].view(shape) for buffer in self.work)
        self._turn(r, q, k)
        # One less than the cosine, for the backward pass too; 0 to the last bit where theta is rounding.
        torch.cos(self.angle, out=self.fall).sub_(1)
        return torch.mul(self.fall, a_k, out=faint).mul_(a_q).sum(1).neg_()

    def add(self, r: slice, q: slice, k: slice, d_lost: Tensor) -> None:
        """Add what the gradient of the tile computed last means for the waves."""
        a_q, a_k, d = self.amplitude[r, :, q], self.amplitude[r, :, k], d_lost[:, None]
        rows, waves, keys = a_k.shape
        c = self.fall.mul_(d).flatten(0, 1)
        self.amplitude_slope[r, :, k].sub_(torch.bmm(a_q.reshape(-1, 1, a_q.shape[2]), c).view(rows, waves, keys))
        self.amplitude_slope[r, :, q].sub_(c.view_as(self.angle).mul_(a_k[:, :, None]).sum(-1))
        # Times count from the tile's first key.
        t_q, t_k = (torch.arange(x.start - k.start, x.stop - k.start, device=a_q.device).to(a_q.dtype) for x in (q, k))
        s = self.angle.sin_().mul_(d).mul_(a_k[:, :, None])
        timed = torch.stack([a_q, a_q * t_q], dim=2).flatten(0, 1)
        now, at_query = torch.bmm(timed, s.flatten(0, 1)).view(rows, waves, 2, keys).unbind(2)
        self.phase_slope[r, :, k].sub_(now)
        self.frequency_slope[r, :, k].sub_(at_query.addcmul_(now, t_k, value=-1))
        now = s.sum(-1)
        at_key = s.mul_(t_k).sum(-1)
        self.phase_slope[r, :, q].addcmul_(a_q, now)
        self.frequency_slope[r, :, q].addcmul_(a_q, now.mul_(t_q).sub_(at_key))

    def slopes(self) -> tuple[Tensor, Tensor]:
        """Return the gradients of the phases and the frequencies."""
        return self.phase_slope, self.frequency_slope

    def _turn(self, r: slice, q: slice, k: slice) -> None:
        """Set the angle to theta; products of a time with the other's frequency stay within the tile, hence small."""
        middle_q, middle_k = q.start - q.start % KEYS + KEYS // 2, k.start + KEYS // 2
        if self.block != (r.start, middle_q, middle_k):
            self.block = (r.start, middle_q, middle_k)
            steps = self.step.shape[2]
            queries = slice(q.start, min(middle_q - KEYS // 2 + KEYS, steps))
            keys = slice(k.start, min(k.start + KEYS, steps))
            t_q, t_k = (torch.arange(x.start, x.stop, device=self.step.device) for x in (queries, keys))
            self.ahead = self._after(r, queries, t_q - middle_k), q.start, (t_q - middle_q).to(self.step.dtype)
            self.behind = self._after(r, keys, middle_q - t_k), (t_k - middle_k).to(self.step.dtype)
        ahead, start, t_q = self.ahead
        behind, t_k = self.behind
        now, seen = slice(q.start - start, q.stop - start), slice(0, k.stop - k.start)
        torch.sub(ahead[:, :, now, None], behind[:, :, None, seen], out=self.angle)
        self.angle.addcmul_(self.step[r, :, q, None], t_k[seen], value=-1)
        self.angle.addcmul_(self.step[r, :, None, k], t_q[now, None], value=-1)

    def _after(self, r: slice, s: slice, times: Tensor) -> Tensor:
        """Return the phases of some waves after some times, within half a turn of 0."""
        phase, frequency, times = (
            x.to(wide_dtype(x.device)) for x in (self.phase[r, :, s], self.frequency[r, :, s], times)
        )
        return wrap_phase(torch.addcmul(phase, frequency, times)).to(self.phase.dtype)
