"""One picture of a model at work: the text so far, its waves, what it expects next, and what it listens to."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from undula.ops.phase import wrap_phase
from undula.ops.wave import synthesize_sequence
from undula.viz.style import ANGLE, COLOURS, INK, MAGNITUDE, TOKEN_FONT, styled, visible
from undula.wave import Wave

SHOWN = 24
"""Last positions in the panels that have one column for each."""
LINE = 96
"""Characters in a line of text."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What a model was like at one token.

    Args:
        before: the text before the token.
        token: the text of the token.
        recent: texts of the last positions, the token's last.
        wave: (T, H), waves of those positions; None for a model without waves.
        expected: the likeliest next tokens with their probabilities.
        weights: (layers, T), how much each of those positions counts at the last one.
    """

    before: str
    token: str
    recent: Sequence[str]
    wave: Wave | None
    expected: Sequence[tuple[str, float]]
    weights: np.ndarray


@styled
def draw_scene(scene: Scene) -> Figure:
    """Draw text, superposition of the waves, their phases on the circle, expected tokens, and weights by layer.

    Raises:
        ValueError: when there is not one column of weights for each position.
    """
    if scene.weights.shape[1:] != (len(scene.recent),):
        raise ValueError(f"got weights of shape {scene.weights.shape} for {len(scene.recent)} positions; give (L, T)")
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    rows = figure.add_gridspec(3, 3, height_ratios=[0.5, 1.3, 1.4], width_ratios=[1.3, 1.3, 1])
    _text(figure.add_subplot(rows[0, :]), scene)
    superposition, circle = figure.add_subplot(rows[1, :2]), figure.add_subplot(rows[1, 2], projection="polar")
    _superposition(superposition, scene)
    _phases(circle, scene)
    _weights(figure.add_subplot(rows[2, :2]), scene)
    _expected(figure.add_subplot(rows[2, 2]), scene)
    return figure


def _text(ax: Axes, scene: Scene) -> None:
    words = visible(scene.before + scene.token).replace("␣", " ").replace("↵", " ")
    lines = textwrap.wrap(words, LINE)[-3:] or [""]
    for row, line in enumerate(lines):
        ax.text(0, 1 - 0.4 * row, line, family=TOKEN_FONT, fontsize=11, va="top", parse_math=False)
    ax.set_axis_off()


def _superposition(ax: Axes, scene: Scene) -> None:
    ax.set_title("Superposition of the waves, token by token")
    steps = len(scene.recent)
    if scene.wave is None:
        _absent(ax, "this model has no waves")
    else:
        wave = scene.wave.detach().cpu()
        parts = (wave.frequencies, wave.amplitudes, wave.phases)
        rate = max(16, 4 * math.ceil(float(wave.frequencies.abs().max())))
        sound = synthesize_sequence(*parts, samples_per_step=rate, sample_rate=rate).numpy()
        time = np.arange(len(sound)) / rate
        ax.plot(time, sound, color=COLOURS[0], linewidth=1)
        ax.plot(time[-rate:], sound[-rate:], color=COLOURS[1], linewidth=1.6)
        ax.set_ylabel("Amplitude")
    ax.set_xlim(0, steps)
    _tokens(ax, scene.recent, 0.5)


def _phases(ax: Axes, scene: Scene) -> None:
    ax.set_title("Phases now", loc="center")
    ax.set_xticks(np.arange(4) * math.pi / 2, ["0", "π/2", "±π", "-π/2"], fontsize=9)
    ax.set_yticklabels([])
    if scene.wave is not None:
        now = scene.wave[-1].detach().cpu().to(torch.float64)
        angles = wrap_phase(now.phases).numpy()
        ax.scatter(angles, now.amplitudes.abs().numpy(), c=angles, cmap=ANGLE, vmin=-math.pi, vmax=math.pi, s=22)


def _weights(ax: Axes, scene: Scene) -> None:
    ax.set_title("What each layer listens to")
    most = scene.weights.max(1, keepdims=True)
    share = np.divide(scene.weights, most, out=np.zeros_like(scene.weights), where=most > 0)
    ax.imshow(share, aspect="auto", cmap=MAGNITUDE, vmin=0, vmax=1, interpolation="nearest")
    ax.set_yticks(range(len(share)), [str(layer) for layer in range(1, len(share) + 1)])
    ax.set_ylabel("Layer")
    ax.grid(visible=False)
    _tokens(ax, scene.recent, 0.0)


def _expected(ax: Axes, scene: Scene) -> None:
    ax.set_title("Expected next")
    names, chances = [visible(text) for text, _ in scene.expected], [chance for _, chance in scene.expected]
    ax.barh(range(len(names)), chances, color=COLOURS[2])
    ax.set_yticks(range(len(names)), names, family=TOKEN_FONT, fontsize=9, parse_math=False)
    ax.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xlabel="Probability")
    ax.grid(visible=False, axis="y")


def _tokens(ax: Axes, tokens: Sequence[str], shift: float) -> None:
    texts = [visible(token)[:6] for token in tokens]
    ax.set_xticks([i + shift for i in range(len(texts))], texts, family=TOKEN_FONT, fontsize=9, parse_math=False)
    ax.tick_params(axis="x", length=0)


def _absent(ax: Axes, why: str) -> None:
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=INK)
    ax.set_yticks([])
