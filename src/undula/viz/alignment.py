"""What a translation reads of its source, token by token."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from undula.viz.style import TOKEN_FONT, grid_of_axes, mark_tokens, styled, visible


@styled
def alignment(weights: Float[np.ndarray, "T S"], source: Sequence[str], target: Sequence[str]) -> Figure:
    """Draw the weights of source tokens, a row for each token that is written.

    Args:
        weights: of each row, 1 in sum.
        source: tokens that are read.
        target: tokens that are written.

    Raises:
        ValueError: when the numbers of tokens are not those of the weights.
    """
    if weights.shape != (len(target), len(source)):
        raise ValueError(
            f"got weights of shape {weights.shape} for {len(target)} written and {len(source)} read tokens; wanted a "
            "row for each written token, a column for each read one"
        )
    figure, axes = grid_of_axes(1, 1, max(2.5, 1.0 + 0.32 * len(target)))
    ax = axes[0, 0]
    picture = ax.imshow(weights, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    mark_tokens(ax, source, range(len(source)))
    ax.set_xlabel(ax.get_xlabel().replace("Token", "Token that is read", 1))
    ax.set_yticks(range(len(target)), [visible(t) for t in target], family=TOKEN_FONT, fontsize=9, parse_math=False)
    ax.set_ylabel("Token that is written")
    ax.grid(visible=False)
    figure.colorbar(picture, ax=ax, label="Share of what is read")
    return figure
