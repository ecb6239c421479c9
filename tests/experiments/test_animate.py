"""Scenes of a model while it writes: its own numbers at each token, and the film of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from undula.experiments.animate import animate, pixels, scenes
from undula.experiments.mixing import mixing_weights
from undula.experiments.pictures import waves_of
from undula.experiments.run import load_run
from undula.experiments.sample import Sampling, continuation


def test_scenes_hold_what_the_model_had_at_each_token(trained):
    run = load_run(trained)
    ids = continuation(run, "The state", Sampling(max_new_tokens=4))
    shown = list(scenes(run, ids, 9))
    assert [scene.token for scene in shown] == [run.tokenizer.decode([i]) for i in ids[8:]]
    third, upto = shown[2], torch.tensor([ids[:11]])
    assert third.before + third.token == run.tokenizer.decode(ids[:11])
    # From the text up to that token alone: what came later has changed nothing.
    with torch.no_grad():
        chances = run.model(upto).logits[0, -1].softmax(-1)
    best = chances.argmax().item()
    assert third.expected[0] == (run.tokenizer.decode([best]), pytest.approx(chances[best].item(), rel=1e-4))
    assert len(third.expected) == 10
    weights = [layer[0].mean(0)[-1].detach().numpy() for layer in mixing_weights(run.model, upto)]
    np.testing.assert_allclose(third.weights, weights, rtol=1e-3, atol=1e-6)
    wave = waves_of(run, ids[:11])
    torch.testing.assert_close(third.wave.phases, wave.phases, rtol=1e-4, atol=1e-5)


def test_only_the_last_positions_are_shown(trained):
    run = load_run(trained)
    ids = list(range(40, 80))
    last = list(scenes(run, ids, 40))[-1]
    assert (len(last.recent), last.weights.shape, last.wave.shape) == (24, (1, 24), (24, 8))


def test_film_of_a_run(trained, plain, tmp_path):
    told = []
    path = tmp_path / "film.gif"
    sampling = Sampling(max_new_tokens=3)
    text = animate(
        load_run(trained), "The state", path, sampling, on_scene=lambda number, count: told.append((number, count))
    )
    assert text.startswith("The state")
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (4, (1000, 640))


def test_models_without_waves_are_drawn_too(plain):
    run = load_run(plain)
    (scene,) = scenes(run, run.tokenizer("The")["input_ids"], 3)
    assert scene.wave is None
    assert pixels(scene).shape == (640, 1000, 3)
