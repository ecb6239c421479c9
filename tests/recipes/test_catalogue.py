"""Recipes: complete, comparable, of equal size, and what a protocol makes of them."""

import dataclasses

import numpy as np
import pytest

from undula.data.build import prepare
from undula.experiments.run import evaluate_run, train_run
from undula.models.language_model import build_language_model
from undula.recipes.catalogue import DEFAULT, NARROW, RECIPES, purpose
from undula.recipes.changes import changed
from undula.recipes.long import RECALL_MODELS, recall
from undula.recipes.protocols import PROTOCOLS, with_protocol

ENHANCED = ("wave_sparse_lm", "wave_gather_lm", "wave_compact_lm", "wave_curriculum_lm")
LONG = ("spectral_long", "needle", "copy")
COMPARED = (
    "wave_lm",
    "wave_attention_lm",
    "wave_phase_lm",
    "wave_pyramid_lm",
    "attention_lm",
    "attention_short_lm",
    "fft_conv_lm",
    "short_conv_lm",
    "spectral_lm",
    "spectral_hybrid_lm",
    "spectral_adaptive_lm",
    "spectral_llm",
)


def parameters(model):
    return sum(p.numel() for p in build_language_model(model).parameters())


def test_every_recipe_has_its_own_name_and_a_purpose():
    assert {name: RECIPES[name]().name for name in RECIPES} == {name: name for name in RECIPES}
    assert all(purpose(RECIPES[name]).endswith(".") for name in RECIPES)
    assert set(RECIPES) == {"smoke", "wave_gpt", "wave_enhanced", *LONG, *ENHANCED, *COMPARED}
    assert DEFAULT == "wave_lm"


@pytest.mark.parametrize("protocol", [None, *PROTOCOLS])
@pytest.mark.parametrize("name", COMPARED)
def test_recipes_that_are_compared_differ_in_the_model_alone(name, protocol):
    pair = [RECIPES[name](), RECIPES["attention_lm"]()]
    config, baseline = pair if protocol is None else [with_protocol(c, protocol, "t.txt") for c in pair]
    assert dataclasses.replace(config, name="", model=baseline.model) == dataclasses.replace(baseline, name="")


def test_an_enhancement_changes_the_default_in_what_it_is_about_alone():
    whole = RECIPES["wave_lm"]()
    changes = {name: changed(RECIPES[name](), {"name": "wave_lm"}) for name in ENHANCED}
    half = {"model.sparsity.k_ratio": 0.5}
    assert changes["wave_sparse_lm"] == changed(whole, {**half, "model.backbone.d_ff": 344})
    assert changes["wave_gather_lm"] == changed(whole, {**NARROW, "model.sparsity.gather": True})
    settled = {**NARROW, "model.sparsity.settles": True}
    assert changes["wave_compact_lm"] == changed(whole, {**settled, "settling": 0.15})
    sliced = {"model.freq_limit": "slice", "model.codec.ordered": True, "curriculum.share": 0.5}
    assert changes["wave_curriculum_lm"] == changed(whole, sliced)
    sizes = {name: parameters(config.model) for name, config in changes.items()}
    assert sizes["wave_sparse_lm"] == pytest.approx(parameters(whole.model), rel=0.01)
    assert sizes["wave_gather_lm"] < 0.6 * parameters(whole.model)


def test_all_enhancements_are_in_one_recipe():
    model = RECIPES["wave_enhanced"]().model
    assert (model.backbone.block, model.backbone.mixers) == ("phase_parallel", ("phase_coherent",))
    assert (model.backbone.pyramid.after, model.freq_limit, model.sparsity.k_ratio) == ((1,), "mask", 0.5)
    assert parameters(model) == pytest.approx(parameters(RECIPES["wave_lm"]().model), rel=0.03)


@pytest.mark.parametrize("vocab_size", [67, 257])
@pytest.mark.parametrize("name", COMPARED)
def test_models_that_are_compared_have_the_same_size(name, vocab_size):
    sizes = [parameters(changed(RECIPES[n]().model, {"vocab_size": vocab_size})) for n in (name, "attention_lm")]
    assert abs(sizes[0] / sizes[1] - 1) < 0.03


def test_protocol_fixes_what_it_names():
    config = with_protocol(changed(RECIPES["wave_lm"](), {"model.backbone.dropout": 0.3, "steps": 9}), "p0", "t.txt")
    data = config.data
    assert (data.source, data.tokenizer, data.split, data.rest, data.block_size) == (
        "t.txt",
        "char",
        "tail",
        "dropped",
        64,
    )
    assert (config.steps, config.batch_size, config.model.backbone.dropout) == (2000, 12, 0.0)
    assert config.optim.betas == (0.9, 0.99)
    longer = with_protocol(config, "p0_256")
    assert (longer.data.block_size, longer.batch_size, longer.data.source) == (256, 6, "t.txt")


def test_unknown_protocol():
    with pytest.raises(ValueError, match="unknown protocol 'p1'; did you mean 'p0'"):
        with_protocol(RECIPES["wave_lm"](), "p1")


def test_long_contexts():
    config = RECIPES["spectral_long"]()
    assert (config.data.block_size, config.data.eval_block_size) == (65536, 200_000)
    assert config.piece == 4096
    prepared = prepare(config.data)
    assert len(prepared.eval_windows()[0]["input_ids"]) == 200_000
    assert len(prepared.train_windows(seed=0, length=1)[0]["input_ids"]) == 65536
    assert RECIPES["needle"]().data.source == "needle"
    assert RECIPES["copy"]().data.source == "copy"
    assert {name: parameters(recall("needle", name).model) < 2e6 for name in RECALL_MODELS} == dict.fromkeys(
        RECALL_MODELS, True
    )
    with pytest.raises(ValueError, match="unknown model 'fft_con'; did you mean 'fft_conv'"):
        recall("needle", "fft_con")


def test_the_long_recipe_in_small_trains_in_pieces_and_scores_one_stream(tmp_path):
    letters = np.random.default_rng(0).choice(list("abcdefgh \n"), 24_000)
    (tmp_path / "text.txt").write_text("".join(letters))
    small = {"steps": 2, "eval_every": 2, "save_every": 2, "data.block_size": 512, "data.eval_block_size": 4000}
    config = changed(RECIPES["spectral_long"](), {**small, "piece": 128, "data.source": str(tmp_path / "text.txt")})
    run = train_run(config, tmp_path / "run")
    whole = evaluate_run(tmp_path / "run", piece=0)
    assert run.validation.num_tokens == whole.num_tokens > 4000
    assert run.validation.loss == pytest.approx(whole.loss, abs=1e-5)
