"""Softmax attention over the cells of a grid, behind the same local filter as filters over grids have: their twin."""

import torch
from einops import rearrange
from torch import nn

from undula.mixers.base import GRID_MIXERS, Mixer, State, Traits, checked_grid
from undula.nn.grid_conv import GridConv
from undula.nn.norms import RMSNorm
from undula.ops.attention import cross_sdpa
from undula.ops.half_waves import Grid
from undula.shapes import PaddingMask, Sequence


@GRID_MIXERS.register("grid_attention")
class GridAttention(Mixer):
    """y = out_proj(softmax(q k^T / sqrt(d_head)) v), with q, k, v projections of a 3 x 3 filter of the input.

    What is compared with it differs by its mixing over the whole grid alone, and not by seeing its neighbours. Cells
    have no positions here: give them some. Cost P^2 D for P cells.

    Args:
        d_model: width.
        num_heads: heads; divides d_model.
        short_conv: side of the local filter, odd; 1 for the cell alone.
        qk_norm: normalise queries and keys per head (Henry et al., arXiv 2010.04245).

    Raises:
        ValueError: when heads do not divide the width, or the side is even.

    Source: Vaswani et al., arXiv 1706.03762; Wu et al., "CvT", arXiv 2103.15808 (convolutions before projections).
    """

    traits = Traits(
        causal=False, streaming=False, grid=True, cost="T^2", source="Vaswani et al., arXiv 1706.03762; a local filter"
    )

    def __init__(self, d_model: int, num_heads: int, *, short_conv: int = 3, qk_norm: bool = False) -> None:
        super().__init__()
        if d_model % num_heads:
            raise ValueError(f"d_model={d_model} is not a multiple of num_heads={num_heads}; change one of them")
        self.d_model, self.num_heads = d_model, num_heads
        self.short = GridConv(d_model, short_conv)
        self.in_proj = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)
        self.q_norm = RMSNorm(d_model // num_heads) if qk_norm else nn.Identity()
        self.k_norm = RMSNorm(d_model // num_heads) if qk_norm else nn.Identity()

    def forward(
        self,
        x: Sequence,
        causal: bool = False,
        attention_mask: PaddingMask | None = None,
        *,
        state: State | None = None,
        grid: Grid | None = None,
    ) -> Sequence:
        """Attend to all cells of a grid; see `GridFilter.forward`."""
        grid = checked_grid("grid_attention", x, causal, attention_mask, state, grid)
        z = self.in_proj(self.short(x, grid))
        q, k, v = rearrange(z, "b t (three n e) -> three b n t e", three=3, n=self.num_heads)
        return self.out_proj(rearrange(cross_sdpa(self.q_norm(q), self.k_norm(k), v), "b n t e -> b t (n e)"))

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Refuse: a grid cannot be given in pieces.

        Raises:
            ValueError: always.
        """
        raise ValueError("grid_attention sees a whole grid at once and has no state to start from")
