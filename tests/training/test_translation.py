"""The run of a translator: what it writes, how it learns, goes on and is scored."""

import dataclasses
import math
import sys

import pytest
import torch

from tests import parallel as small
from tests.trained import timeless
from undula.experiments import translation as runs
from undula.experiments.run import read_config
from undula.hf.seq2seq import UndulaForSeq2SeqLM, UndulaSeq2SeqConfig
from undula.models.config import BackboneConfig, EncoderDecoderConfig
from undula.optim.config import OptimConfig
from undula.recipes.translation import TRANSLATION_RECIPES
from undula.training.state import load_tree
from undula.training.translation import TranslationTask
from undula.training.translation_config import SearchConfig, TranslationTrainConfig
from undula.validation.translation import evaluate_translation

STACK = BackboneConfig(d_model=16, num_layers=1, num_heads=2, mixers=("fft_conv",), d_ff=16, dropout=0.1)


@pytest.fixture(autouse=True)
def bleu(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", small.sacrebleu())


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return small.write(tmp_path_factory.mktemp("pairs"))


def tiny(folder, **changes):
    values = {
        "name": "tiny",
        "model": EncoderDecoderConfig(encoder=STACK, decoder=dataclasses.replace(STACK, cross="landmarks")),
        "data": runs.TranslationTrainConfig(name="x").data.__class__(folder=str(folder), vocab_size=300),
        "optim": OptimConfig(warmup_steps=2),
        "search": SearchConfig(max_length=12),
        "steps": 6,
        "batch_size": 8,
        "log_every": 1,
        "eval_every": 3,
        "save_every": 2,
        "device": "cpu",
    }
    return TranslationTrainConfig(**values | changes)


def test_a_run_is_a_folder_and_is_told(pairs, tmp_path):
    told = []
    before = torch.get_rng_state()
    result = runs.train_translation(tiny(pairs), tmp_path / "run", progress=told.append)
    assert torch.equal(torch.get_rng_state(), before)
    written = timeless(result.folder)
    assert [line["step"] for line in written if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in written if "validation_bleu" in line] == [3, 6]
    assert written[-1]["validation_loss"] == result.validation.metrics.loss
    assert all(line["ce"] < line["loss"] + 1 for line in written if "loss" in line)
    assert (told[0].step, told[-1].step, told[-1].validation) == (0, 6, result.validation)
    loaded = runs.load_translator(result.folder)
    assert result.parameters == sum(p.numel() for p in loaded.model.parameters())
    assert loaded.config.model.vocab_size == len(loaded.tokenizer)
    with pytest.raises(ValueError, match="is the run of a translator, not of a language model"):
        read_config(result.folder)
    (scored,) = runs.evaluate_translation_run(result.folder)
    assert scored == result.validation


def test_it_learns_to_translate(pairs, tmp_path):
    changes = {"steps": 60, "eval_every": 60, "save_every": 60, "label_smoothing": 0.0}
    config = tiny(pairs, optim=OptimConfig(learning_rate=1e-2, warmup_steps=2), **changes)
    result = runs.train_translation(config, tmp_path / "run")
    losses = [line["loss"] for line in timeless(result.folder) if "loss" in line]
    assert losses[0] == pytest.approx(math.log(result.config.model.vocab_size), abs=0.2)
    assert sum(losses[-5:]) / 5 < losses[0] / 2
    assert all(line["loss"] == pytest.approx(line["ce"]) for line in timeless(result.folder) if "loss" in line)


def test_a_resumed_run_equals_one_that_was_not_stopped(pairs, tmp_path):
    whole = runs.train_translation(tiny(pairs), tmp_path / "whole")

    def stop(progress):
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.train_translation(tiny(pairs), tmp_path / "parts", progress=stop)
    parts = runs.train_translation(tiny(pairs), tmp_path / "parts", resume=True)
    assert timeless(parts.folder) == timeless(whole.folder)
    for name in ("model.safetensors", "optimizer.safetensors"):
        if name.startswith("model"):
            states = [UndulaForSeq2SeqLM.from_pretrained(run.checkpoint).state_dict() for run in (whole, parts)]
            assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        else:
            assert str(load_tree(whole.checkpoint / name)) == str(load_tree(parts.checkpoint / name))


def test_other_pairs_are_refused(pairs, tmp_path):
    folder = small.write(tmp_path / "pairs")
    run = runs.train_translation(tiny(folder, steps=2), tmp_path / "run").folder
    small.write(folder, train=61)
    with pytest.raises(ValueError, match="are no longer those that .* was trained on"):
        runs.train_translation(tiny(folder, steps=2), run, resume=True)
    with pytest.raises(ValueError, match="are no longer those"):
        runs.evaluate_translation_run(run)
    (scored,) = runs.evaluate_translation_run(run, str(folder))
    assert scored.metrics.num_tokens > 0


def test_label_smoothing_is_spread_over_all_tokens(pairs):
    config = tiny(pairs, label_smoothing=0.2)
    parallel = runs.prepare_parallel(config.data)
    plan = dataclasses.replace(config.model, vocab_size=len(parallel.tokenizer))
    model = UndulaForSeq2SeqLM(UndulaSeq2SeqConfig(model=plan)).eval()
    task = TranslationTask(config, parallel)
    batch = task.batch(parallel.train[:4])
    loss = task.loss(model, batch)
    nats = -model(**{k: v for k, v in batch.items() if k != "labels"}).logits.log_softmax(-1)
    real = batch["labels"] >= 0
    label = nats.gather(-1, batch["labels"].clamp(min=0)[..., None])[..., 0]
    torch.testing.assert_close(loss, (0.8 * label + 0.2 * nats.mean(-1))[real].mean())
    assert task.parts.take()["ce"] == pytest.approx(label[real].mean().item())


def test_the_score_does_not_depend_on_batches_and_leaves_the_model_alone(pairs):
    config = tiny(pairs)
    parallel = runs.prepare_parallel(config.data)
    plan = dataclasses.replace(config.model, vocab_size=len(parallel.tokenizer))
    model = UndulaForSeq2SeqLM(UndulaSeq2SeqConfig(model=plan)).double().train()
    options = {"max_length": 8, "num_beams": 2}
    scores = [evaluate_translation(model, parallel.held_out, parallel.tokenizer, size, options) for size in (1, 3, 64)]
    assert model.training
    assert model.model.decoder.layers[0].dropout.training
    assert len({score.translations for score in scores}) == 1
    assert [score.metrics.loss for score in scores] == pytest.approx([scores[0].metrics.loss] * 3)
    assert scores[0].metrics.num_tokens == sum(len(target) for _, target in parallel.held_out.pairs)
    assert scores[0].to_dict().keys() == {"loss", "perplexity", "bleu"}


def test_without_sacrebleu_nothing_starts(pairs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ImportError, match=r"sacrebleu is not installed; pip install 'undula\[translation\]'"):
        runs.train_translation(tiny(pairs), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_sentence_is_translated_as_it_comes(pairs, tmp_path):
    run = runs.train_translation(tiny(pairs, steps=2), tmp_path / "run").folder
    loaded, told = runs.load_translator(run), []
    text = runs.translate(loaded, "two three", on_text=told.append)
    assert "".join(told) == text
    beams, told = SearchConfig(num_beams=3, max_length=8), []
    assert runs.translate(loaded, "two three", beams, on_text=told.append) == told[0]
    with pytest.raises(ValueError, match="the sentence is empty"):
        runs.translate(loaded, "  ")


def test_a_grid_has_each_search_once():
    found = runs.grid(SearchConfig(), [1, 4], [0.5, 1.0], [0.0, 0.2])
    assert [(s.num_beams, s.length_penalty, s.coverage_penalty) for s in found] == [
        (1, 1.0, 0.0),
        (4, 0.5, 0.0),
        (4, 0.5, 0.2),
        (4, 1.0, 0.0),
        (4, 1.0, 0.2),
    ]


def test_recipes_are_of_one_size_and_differ_in_the_model_alone():
    configs = {name: TRANSLATION_RECIPES[name]() for name in TRANSLATION_RECIPES}
    assert {name: config.name for name, config in configs.items()} == {name: name for name in configs}
    sizes = []
    for config in configs.values():
        with torch.device("meta"):
            sizes.append(
                sum(p.numel() for p in UndulaForSeq2SeqLM(UndulaSeq2SeqConfig(model=config.model)).parameters())
            )
    assert max(sizes) < 1.01 * min(sizes)
    spectral, baseline = configs["multi30k"], configs["multi30k_attention"]
    rates = [config.optim.learning_rate for config in (spectral, baseline)]
    ends = {"learning_rate": 1e-3, "min_learning_rate": 1e-4}
    alike = [dataclasses.replace(c.optim, **ends) for c in (spectral, baseline)]
    same = {"name": "", "model": baseline.model, "optim": alike[0]}
    assert dataclasses.replace(spectral, **same) == dataclasses.replace(baseline, **same)
    assert alike[0] == alike[1]
    assert rates == [4e-3, 2e-3]  # each chosen for its model
    assert [config.optim.min_learning_rate for config in (spectral, baseline)] == [1e-3, 5e-4]
    assert (spectral.model.decoder.cross, baseline.model.decoder.cross) == ("landmarks", "attention")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing=1.0; wanted a share"),
        ({"eval_batch_size": 0}, "eval_batch_size=0; wanted at least 1"),
        ({"model": EncoderDecoderConfig(context_length=50)}, "model.context_length=50 is less than data.max_tokens=80"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        TranslationTrainConfig(name="x", **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_beams": 0}, "num_beams=0; wanted at least 1"),
        ({"max_length": 1}, "max_length=1; wanted at least 2"),
        ({"coverage_penalty": -0.1}, "coverage_penalty=-0.1; wanted 0 or more"),
    ],
)
def test_bad_searches_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SearchConfig(**values)
