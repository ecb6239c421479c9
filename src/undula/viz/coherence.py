"""How much attention and phase coherence count in each head."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from undula.viz.style import COLOURS, INK, grid_of_axes, styled


@styled
def coherence(layers: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Draw the factors of attention (alpha) and phase coherence (beta): a panel for each layer, a pair for each head.

    Args:
        layers: alpha and beta of every head, or one of each for all heads of a layer.
    """
    figure, axes = grid_of_axes(len(layers), 1, 2.6)
    for number, ((panel,), (alpha, beta)) in enumerate(zip(axes, layers, strict=True)):
        for shift, values, name in ((-0.2, alpha, "attention, alpha"), (0.2, beta, "phase coherence, beta")):
            places = [head + shift for head in range(len(values))]
            panel.bar(places, list(values), width=0.36, color=COLOURS[int(shift > 0)], label=name)
        panel.axhline(0, color=INK, linewidth=0.8)
        panel.set(title=f"Attention {number}", xlabel="Head", ylabel="Factor", xticks=range(len(alpha)))
    axes[0][0].legend()
    return figure
