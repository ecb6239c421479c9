"""A trained model while it writes: one scene for each token that it adds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor

from undula.experiments.film import check_film, write_film
from undula.experiments.mixing import mixing_weights
from undula.experiments.pictures import token_texts, waves_of
from undula.experiments.run import Run
from undula.experiments.sample import Sampling, continuation, prompt_tokens
from undula.viz.scene import SHOWN, Scene, draw_scene

EXPECTED = 10
"""Likeliest next tokens that are shown."""
PIXELS_PER_INCH = 100


def animate(
    run: Run,
    prompt: str,
    path: Path,
    sampling: Sampling,
    *,
    frames_per_second: float = 5.0,
    on_scene: Callable[[int, int], None] = lambda *_: None,
) -> str:
    """Write a film of a model that continues a prompt, and return the text.

    Args:
        run: the model.
        prompt: what it continues.
        path: the film, .mp4 or .gif.
        sampling: how tokens are chosen.
        frames_per_second: tokens that are shown in a second.
        on_scene: told the number of each scene that is drawn, and how many there are.

    Raises:
        ValueError: for another kind of film, a rate that is not positive, or a prompt that the model cannot read.
        ImportError: when the package that ships ffmpeg is not installed.
        OSError: when the file cannot be written.
    """
    check_film(path)
    given = len(prompt_tokens(run, prompt))
    ids = continuation(run, prompt, sampling)
    shown = scenes(run, ids, given)
    pictures = _told(shown, len(ids) - given + 1, on_scene)
    write_film((pixels(scene) for scene in pictures), path, frames_per_second)
    return str(run.tokenizer.decode(ids, skip_special_tokens=True))


def scenes(run: Run, ids: list[int], given: int) -> Iterator[Scene]:
    """Return a scene for the last token of a prompt and for each token after it.

    All of them come from one pass over the whole text: a causal model's numbers at a position are those that it had
    when it wrote there.

    Args:
        run: the model.
        ids: prompt and continuation.
        given: how many of them are the prompt.
    """
    tokens = torch.tensor([ids])
    with torch.no_grad():
        chances = run.model(tokens).logits[0].float().softmax(-1)
    weights = torch.stack([layer[0].detach().mean(0) for layer in mixing_weights(run.model, tokens)])
    waves, texts = waves_of(run, ids), token_texts(run, ids)
    for position in range(given - 1, len(ids)):
        recent = slice(max(0, position + 1 - SHOWN), position + 1)
        yield Scene(
            before="".join(texts[:position]),
            token=texts[position],
            recent=texts[recent],
            wave=None if waves is None else waves[recent],
            expected=_expected(run, chances[position]),
            weights=weights[:, position, recent].double().numpy(),
        )


def pixels(scene: Scene) -> np.ndarray:
    """Return the picture of a scene, (height, width, 3) bytes."""
    canvas = FigureCanvasAgg(draw_scene(scene))
    canvas.figure.set_dpi(PIXELS_PER_INCH)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _expected(run: Run, chances: Tensor) -> list[tuple[str, float]]:
    best = chances.topk(min(EXPECTED, len(chances)))
    return list(zip(token_texts(run, best.indices.tolist()), best.values.tolist(), strict=True))


def _told(shown: Iterator[Scene], count: int, on_scene: Callable[[int, int], None]) -> Iterator[Scene]:
    for number, scene in enumerate(shown, 1):
        on_scene(number, count)
        yield scene
