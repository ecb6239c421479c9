"""Discrete wavelet transforms along the last axis, equal to PyWavelets', and their exact inverses.

Filters are pairs of taps (2, L), low pass first, so that y_c(n) = sum_k taps_c(k) x(2 n - left + k) takes a signal
apart and x(i) = sum_c sum_n taps_c(i + left - 2 n) y_c(n) puts it together; `ops.wavelet_filters` makes them. The mode
says what lies outside of the signal. Details come finest first.

A level is a matrix product: blocks of 2 m samples give m approximations and m details. On a CPU rows are taken in
groups that stay in the cache through all levels, and the gradient is written out; elsewhere a level is taken for all
rows.

On a CPU the levels are computed in float64 and their results rounded once. Three levels of sums of 8 products in
float32, there and back, are wrong by up to 1.4e-6 for standard normal signals: 3 units in the last place (the same in
PyWavelets). This way it is one unit, 4.8e-7. Gradients are computed in the type of the signals.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from undula.names import unknown_name
from undula.ops.phase import full_precision
from undula.ops.wavelet_blocks import (
    Pyramid,
    Span,
    band_matrix,
    group_size,
    huge_empty,
    in_groups,
    level_spans,
    merge_level,
    split_level,
)

MODES = ("periodization", "reflect", "symmetric", "zero")
"""What lies outside of a signal, by PyWavelets' names: it repeats, it is mirrored without and with its ends, nothing.
`periodization` alone makes no more coefficients than samples (one more where the length is odd)."""


def wavedec(
    x: Float[Tensor, "*batch T"], taps: Float[Tensor, "2 L"], levels: int, mode: str, *, portable: bool = False
) -> tuple[Float[Tensor, "*batch M"], list[Float[Tensor, "*batch _"]]]:
    """Return the approximation after so many levels, and the details of every level, finest first.

    As `pywt.wavedec`, whose details are coarsest first. Cost T L. Computed in float32 or wider, given back in the type
    of x; gradients reach x and the taps. A signal may be shorter than the filter.

    Args:
        x: signals.
        taps: analysis filters.
        levels: how often the approximation is taken apart.
        mode: one of `MODES`.
        portable: go the way of other devices on a CPU, too: plain operations on all rows, equal up to rounding.

    Raises:
        ValueError: for an unknown mode, an empty signal, one sample to be mirrored, no level, or an odd number of taps.

    Source: Mallat, IEEE PAMI 11 (1989) 674; the modes: PyWavelets, J. Open Source Software 4 (2019) 1237.
    """
    _check(taps, mode)
    if levels < 1 or x.shape[-1] < 1:
        raise ValueError(f"levels={levels} of a signal of {x.shape[-1]} samples; wanted at least 1 of each")
    spans = level_spans(x.shape[-1], taps.shape[1], levels, mode)
    if mode == "reflect" and any(span.length == 1 for span in spans):
        raise ValueError(
            f"levels={levels} of {x.shape[-1]} samples come down to one sample, which mode 'reflect' cannot mirror; "
            "use fewer levels or another mode"
        )
    wide = torch.promote_types(x.dtype, torch.float32)
    rows = x.to(wide).reshape(-1, x.shape[-1])
    with full_precision(x):
        band = band_matrix(taps)
        if _by_groups(x, portable):
            out = _Analysis.apply(rows, band.double(), spans)
        else:  # narrowed first: not every device has float64
            out = _taken_apart(rows, band.to(wide).to(x.device), spans)
    approx, *details = (t.view(*x.shape[:-1], -1).to(x.dtype) for t in out)
    return approx, details


def waverec(
    approx: Float[Tensor, "*batch M"],
    details: Sequence[Float[Tensor, "*batch _"]],
    taps: Float[Tensor, "2 L"],
    mode: str,
    length: int | None = None,
    *,
    portable: bool = False,
) -> Float[Tensor, "*batch T"]:
    """Return the signal whose transform these coefficients are, of exactly the length that it had.

    As `pywt.waverec`, which returns one sample more where the length was odd. Cost T L.

    Args:
        approx: coefficients of the last level.
        details: finest first.
        taps: synthesis filters.
        mode: that of the transform.
        length: of the signal; None: the longer of the two that have so many coefficients.
        portable: as in `wavedec`.

    Raises:
        ValueError: for coefficients that no signal has, an unknown mode, or an odd number of taps.
    """
    _check(taps, mode)
    lengths = _lengths(approx, details, taps.shape[1], mode, length)
    spans = [Span.inverse(n, taps.shape[1], mode) for n in lengths]
    wide = torch.promote_types(approx.dtype, torch.float32)
    rows = [t.to(wide).reshape(-1, t.shape[-1]) for t in (approx, *details)]
    with full_precision(approx):
        band = band_matrix(taps)
        if _by_groups(approx, portable):
            out = _Synthesis.apply(band.double(), spans, *rows)
        else:
            out = _put_together(rows, band.to(wide).to(approx.device), spans)
    return out.view(*approx.shape[:-1], -1).to(approx.dtype)


def coefficient_count(length: int, taps: int, mode: str) -> int:
    """Return how many approximations, and as many details, one level makes of so many samples."""
    return Span.of(length, taps, mode).half


def _check(taps: Tensor, mode: str) -> None:
    if mode not in MODES:
        raise unknown_name("wavelet mode", mode, MODES)
    if taps.shape[1] % 2:
        raise ValueError(f"filters of {taps.shape[1]} taps; wanted an even number: put a zero before or after them")


def _lengths(approx: Tensor, details: Sequence[Tensor], taps: int, mode: str, length: int | None) -> list[int]:
    """The number of samples that each level was given, finest first."""
    if not details:
        raise ValueError("no details; wanted those of at least one level")
    longest = [2 * d.shape[-1] - (0 if mode == "periodization" else taps - 2) for d in details]
    lengths = [longest[0] if length is None else length, *(d.shape[-1] for d in details[:-1])]
    for level, (most, n) in enumerate(zip(longest, lengths, strict=True)):
        if n < 1 or n not in (most, most - 1):
            raise ValueError(
                f"details[{level}] has {details[level].shape[-1]} coefficients, of {n} samples; {taps} taps in mode "
                f"{mode!r} make that many of {most} or {most - 1}: give coefficients (finest first), filters, mode and "
                "length of one transform"
            )
    shapes = [t.shape[:-1] for t in (approx, *details)]
    if approx.shape[-1] != details[-1].shape[-1] or any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            f"approximation {tuple(approx.shape)} and details {[tuple(d.shape) for d in details]}; wanted equal shapes "
            "but for the last axis, and as many approximations as coefficients in the last details"
        )
    return lengths


def _by_groups(x: Tensor, portable: bool) -> bool:
    """Whether rows go through all levels in groups: on a CPU, unless a compiler looks on and would unroll the loop."""
    return x.device.type == "cpu" and not portable and not torch.compiler.is_compiling()


def _taken_apart(x: Tensor, band: Tensor, spans: Sequence[Span]) -> list[Tensor]:
    details = []
    for span in spans:
        x, detail = split_level(x, band, span)
        details.append(detail)
    return [x, *details]


def _put_together(coefficients: Sequence[Tensor], band: Tensor, spans: Sequence[Span]) -> Tensor:
    x, *details = coefficients
    for span, detail in zip(reversed(spans), reversed(details), strict=True):
        x = merge_level(x, detail, band, span)
    return x


class _Analysis(torch.autograd.Function):
    """All levels down; the gradient is all levels up, with the same filters."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, band: Tensor, spans: Sequence[Span]) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, band)
        ctx.spans = spans
        ctx.set_materialize_grads(False)
        return _down(x, band, spans)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        x, band = ctx.saved_tensors
        band = band.to(x.dtype)
        dx = _up(grads, x, band, ctx.spans) if ctx.needs_input_grad[0] else None
        d_band = _band_gradient(x, grads, band, ctx.spans).double() if ctx.needs_input_grad[1] else None
        return dx, d_band, None


class _Synthesis(torch.autograd.Function):
    """All levels up; the gradient is all levels down, with the same filters."""

    @staticmethod
    def forward(ctx: Any, band: Tensor, spans: Sequence[Span], *coefficients: Tensor) -> Tensor:
        ctx.save_for_backward(band, *coefficients)
        ctx.spans = spans
        return _up(coefficients, coefficients[0], band, spans)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        band, *coefficients = ctx.saved_tensors
        band = band.to(grads[0].dtype)
        d_band = _band_gradient(grads[0], coefficients, band, ctx.spans).double() if ctx.needs_input_grad[0] else None
        wanted = any(ctx.needs_input_grad[2:])
        down = _down(grads[0], band, ctx.spans) if wanted else [None] * len(coefficients)
        return d_band, None, *down


def _down(x: Tensor, band: Tensor, spans: Sequence[Span]) -> tuple[Tensor, ...]:
    out = [huge_empty(len(x), span.half, x) for span in (spans[-1], *spans)]
    size = group_size(len(x), spans)

    def step(pyramid: Pyramid, rows: slice) -> None:
        pyramid.down(x[rows])
        pyramid.read(out, rows)

    in_groups(len(x), size, lambda: Pyramid(spans, band, size), step)
    return tuple(out)


def _up(coefficients: Sequence[Tensor | None], like: Tensor, band: Tensor, spans: Sequence[Span]) -> Tensor:
    rows = len(like)
    out = huge_empty(rows, spans[0].length, like)
    size = group_size(rows, spans)

    def step(pyramid: Pyramid, group: slice) -> None:
        out[group].copy_(pyramid.up([None if c is None else c[group] for c in coefficients], group))

    in_groups(rows, size, lambda: Pyramid(spans, band, size), step)
    return out


def _band_gradient(x: Tensor, coefficients: Sequence[Tensor | None], band: Tensor, spans: Sequence[Span]) -> Tensor:
    """The sum over rows, blocks and levels of (samples of a block) (coefficients of the block)^T."""
    size = group_size(len(x), spans)
    # A sum for each group, so that the order of additions does not depend on which thread was faster.
    parts = band.new_zeros(-(-len(x) // size), *band.shape)

    def step(sides: tuple[Pyramid, Pyramid], group: slice) -> None:
        below, above = sides
        below.down(x[group])
        above.up([None if c is None else c[group] for c in coefficients], group)
        below.add_products(above, group.stop - group.start, parts[group.start // size])

    in_groups(len(x), size, lambda: (Pyramid(spans, band, size), Pyramid(spans, band, size)), step)
    return parts.sum(0)


def packets(
    x: Float[Tensor, "*batch T"], taps: Float[Tensor, "2 L"], levels: int, mode: str
) -> Float[Tensor, "*batch N M"]:
    """Return the 2^levels bands of a full tree: approximations and details are taken apart alike.

    In natural order, as `pywt.WaveletPacket(...).get_level(levels, "natural")`: aa, ad, da, dd for two levels. Cost
    levels T L. Errors and types as in `wavedec`.
    """
    nodes = x[..., None, :]
    for _ in range(levels):
        approx, (detail,) = wavedec(nodes, taps, 1, mode)
        nodes = torch.stack([approx, detail], dim=-2).flatten(-3, -2)
    return nodes


def from_packets(
    nodes: Float[Tensor, "*batch N M"], taps: Float[Tensor, "2 L"], mode: str, length: int
) -> Float[Tensor, "*batch T"]:
    """Return the signal of so many samples whose `packets` these are.

    Raises:
        ValueError: when the number of bands is no power of 2, or no signal of that length has bands of this one.
    """
    levels = nodes.shape[-2].bit_length() - 1
    if nodes.shape[-2] != 1 << levels:
        raise ValueError(f"{nodes.shape[-2]} bands; wanted a power of 2")
    lengths = [length]
    while len(lengths) < levels:
        lengths.append(coefficient_count(lengths[-1], taps.shape[1], mode))
    for n in reversed(lengths[:levels]):
        approx, detail = nodes.unflatten(-2, (-1, 2)).unbind(-2)
        nodes = waverec(approx, [detail], taps, mode, n)
    return nodes[..., 0, :]
