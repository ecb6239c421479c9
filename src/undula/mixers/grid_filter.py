"""A learned filter over the cells of a grid: few waves of the whole image, gates that depend on it, a local filter."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.mixers.base import GRID_MIXERS, Mixer, State, Traits, checked_grid
from undula.nn.grid_conv import GridConv
from undula.nn.norms import RMSNorm
from undula.ops.half_waves import (
    Grid,
    grid_amplitudes,
    grid_samples,
    interpolated,
    unit,
    wave_counts,
    wave_frequencies,
)
from undula.ops.phase import full_precision
from undula.ops.spectral_bands import log_bands
from undula.shapes import PaddingMask, Sequence

SMALL = 0.1
"""Spread that the filter's responses start with, beside a direct path of 1."""


@GRID_MIXERS.register("grid_filter")
class GridFilter(Mixer):
    """y = out_proj(norm(q) * (direct u + filter(u))), u = norm(k) * v, with q, k, v projections of a 3 x 3 filter.

    `filter` takes the amplitudes of the image's waves cos(pi k y) cos(pi l x) of each channel, multiplies each with a
    learned response, four numbers for cosines and sines down and across (a gain and a direction of shift), and adds
    the waves up again. The responses stand on a grid of `modes` x `modes` frequencies, counted in half waves over the
    side of a square of the image's area; a longer or shorter side has waves in between, whose responses are
    interpolated. Above `modes` there is the direct path alone. So the filter is the same function of the image at every
    resolution, and no image is too large: cost P (modes D + D^2) for P cells.

    The image goes on as its mirror image beyond its borders: opposite borders do not meet, and no border is dark.

    Each band of radial frequencies of each head has a gate 2 sigmoid(W mean(x) - threshold), which depends on the
    image.

    Args:
        d_model: width.
        num_heads: groups of channels that have gates of their own; divides d_model.
        modes: frequencies of the filter along each axis.
        num_bands: bands of radial frequencies, two octaves apart.
        phase_aware: filters may shift; False: they are symmetric in both directions, a quarter of the numbers.
        short_conv: side of the local filter, odd; 1 for none.

    Raises:
        ValueError: when heads do not divide the width, or a number is out of range.

    Source: Rao et al., "Global Filter Networks", arXiv 2107.00645; Li et al., "Fourier Neural Operator", arXiv
    2010.08895 (responses on few waves); own extension by mirror images and own gates.
    """

    traits = Traits(
        causal=False,
        streaming=False,
        grid=True,
        cost="T",
        source="Rao et al., Global Filter Networks, arXiv 2107.00645",
    )

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        modes: int = 16,
        num_bands: int = 3,
        phase_aware: bool = True,
        short_conv: int = 3,
    ) -> None:
        super().__init__()
        if d_model % num_heads:
            raise ValueError(f"d_model={d_model} is not a multiple of num_heads={num_heads}; change one of them")
        if min(modes, num_bands) < 1:
            raise ValueError(f"modes={modes}, num_bands={num_bands}; wanted at least 1 each")
        self.d_model, self.num_heads, self.modes, self.num_bands = d_model, num_heads, modes, num_bands
        self.short = GridConv(d_model, short_conv)
        self.in_proj = nn.Linear(d_model, 3 * d_model, bias=False)
        self.q_norm, self.k_norm = RMSNorm(d_model), RMSNorm(d_model)
        parts = 2 if phase_aware else 1
        self.response = nn.Parameter(SMALL * torch.randn(parts, parts, modes, modes, d_model))
        self.direct = nn.Parameter(torch.ones(d_model))
        self.band_gate = nn.Linear(d_model, num_heads * num_bands, bias=False)
        self.threshold = nn.Parameter(torch.zeros(num_heads))
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self,
        x: Sequence,
        causal: bool = False,
        attention_mask: PaddingMask | None = None,
        *,
        state: State | None = None,
        grid: Grid | None = None,
    ) -> Sequence:
        """Filter a grid of cells, row by row.

        Args:
            x: the cells.
            causal: False; cells have no order.
            attention_mask: None; a grid has no padding.
            state: None.
            grid: rows and columns.

        Raises:
            ValueError: for causal=True, a mask, a state, or a grid that has not as many cells as there are positions.
        """
        grid = checked_grid("grid_filter", x, causal, attention_mask, state, grid)
        q, k, v = self.in_proj(self.short(x, grid)).chunk(3, dim=-1)
        u = self.k_norm(k) * v
        level = self.band_gate(x.mean(1)).unflatten(-1, (self.num_heads, self.num_bands)) - self.threshold[:, None]
        y = self.filtered(u, grid, 2 * torch.sigmoid(level)) + self.direct * u
        return self.out_proj(self.q_norm(q) * y.to(q.dtype))

    def filtered(self, u: Sequence, grid: Grid, gates: Float[Tensor, "B N bands"]) -> Sequence:
        """Return what the filter makes of the waves of a grid, in float32 or wider."""
        wide = torch.promote_types(u.dtype, torch.float32)
        to = {"device": u.device, "dtype": wide}
        counts = wave_counts(grid, self.modes)
        down, across = (
            wave_frequencies(size, count, unit(grid), **to) for size, count in zip(grid, counts, strict=True)
        )
        with full_precision(u):
            amplitudes = grid_amplitudes(u.to(wide).unflatten(1, grid), *counts)
            radius = torch.hypot(down[:, None], across).flatten() / (2 * self.modes)
            # (B, N, K L), then a channel of each head.
            gains = (gates.to(wide) @ log_bands(radius, self.num_bands)).unflatten(-1, counts)
            gains = gains.permute(0, 2, 3, 1)[..., None]
            gated = (amplitudes.unflatten(-1, (self.num_heads, -1)) * gains).flatten(-2)
            response = interpolated(self.response.to(wide), down, across)
            return grid_samples(gated[:, None, :, None] * response, grid).flatten(1, 2)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Refuse: a grid cannot be given in pieces.

        Raises:
            ValueError: always.
        """
        raise ValueError("grid_filter sees a whole grid at once and has no state to start from")
