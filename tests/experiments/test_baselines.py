"""Baselines are causal and trained, counts are a floor, and the comparison can go either way."""

import json
import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from undula.data.texts import EnhancedTextDataset
from undula.experiments import baselines
from undula.experiments.baselines import BaselineEvaluator, count_model_score, train_steps_of
from undula.models.wave_gpt import WaveGPT, WaveGPTConfig


class Letters:
    def encode(self, text):
        return [ord(c) - 97 for c in text]


def loader(text, length=8, batch_size=8):
    return DataLoader(EnhancedTextDataset([text], Letters(), seq_length=length), batch_size=batch_size)


def random_text(seed, length=1600):
    return "".join(chr(97 + i) for i in np.random.default_rng(seed).integers(0, 4, length))


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(baselines, "SIZES", {"tiny": (16, 1, 2, 24), "small": (24, 1, 2, 24)})


def test_baselines_learn_what_can_be_learnt_and_no_more(tiny):
    evaluator = BaselineEvaluator(device="cpu")
    options = {"vocab_size": 4, "seq_length": 8, "train_steps": 40, "learning_rate": 2e-2, "seeds": (0, 1)}
    regular = loader("abcd" * 100)
    learnt = evaluator.evaluate_multiple_baselines(regular, train_loader=regular, **options)
    assert all(m["perplexity"] < 1.5 and m["accuracy"] == 1 for m in learnt.values())
    assert all(m["perplexity"] == pytest.approx(math.exp(m["loss"])) for m in learnt.values())
    assert all(len(set(m["seed_losses"])) == 2 and not m["untrained"] for m in learnt.values())
    # Independent tokens: who sees the answer is below ln 4.
    chance = evaluator.evaluate_multiple_baselines(
        loader(random_text(1)), train_loader=loader(random_text(0)), **options
    )
    assert all(m["loss"] > math.log(4) - 0.02 for m in chance.values())
    assert all(m["loss_interval"][0] < m["loss"] < m["loss_interval"][1] for m in chance.values())


def test_untrained_baselines_say_so_and_give_no_verdict(tiny):
    evaluator = BaselineEvaluator(device="cpu")
    found = evaluator.evaluate_multiple_baselines(loader(random_text(0)), 4, 8)
    assert all(m["untrained"] for m in found.values())
    with pytest.raises(ValueError, match="no baseline was trained"):
        evaluator.compare_with_spectralllm({"loss": 1.0}, found)


def test_counts_reach_what_they_must():
    train, val = loader(random_text(0, 8000)), loader(random_text(1, 8000))
    assert count_model_score(train, val, 4, 1).metrics.loss == pytest.approx(math.log(4), abs=0.01)
    regular = loader("aabb" * 200)
    # One letter of context leaves a coin, two leave nothing, but for the start of each window.
    assert count_model_score(regular, regular, 4, 2).metrics.loss == pytest.approx(math.log(2), abs=0.02)
    assert count_model_score(regular, regular, 4, 3).metrics.loss < 0.1


def test_counts_by_hand():
    pair = (torch.tensor([[0, 1]]), torch.tensor([[1, 0]]))
    # Unigram counts 1: 1, 0: 1; each (1 - 0.75) / 2 + 0.75 * 2 / 2 * 1 / 4.
    unigram = 0.25 / 2 + 0.75 / 4
    assert count_model_score([pair], [pair], 4, 1).metrics.loss == pytest.approx(-math.log(unigram))
    bigram = 0.25 + 0.75 * unigram
    assert count_model_score([pair], [pair], 4, 2).metrics.loss == pytest.approx(-math.log(bigram))


def test_the_comparison_can_go_either_way():
    made = {
        "small": {"loss": 2.0, "parameters": 1000, "sequence_nats": [20.0] * 9, "sequence_tokens": [10] * 9},
        "large": {"loss": 3.0, "parameters": 9000},
    }
    compare = BaselineEvaluator(device="cpu").compare_with_spectralllm
    better = compare({"val_perplexity": math.exp(1.5), "parameters": 8000}, made)["analysis"]
    assert better["overall_assessment"] == {"better_than_best_baseline": True, "performance_tier": "best"}
    assert (better["best_baseline"], better["similar_size_baseline"]) == ("small", "large")
    # More is better: half a nat saved with 0.008 million parameters.
    assert better["spectral_vs_best"]["nats_saved_per_million_parameters"] == pytest.approx(0.5 / 0.008)
    worse = compare({"val_loss": 5.0}, made)["analysis"]["overall_assessment"]
    assert worse == {"better_than_best_baseline": False, "performance_tier": "worst"}
    # Better on average, but for one sequence alone: no verdict.
    noisy = compare({"loss": 1.9, "sequence_nats": [11.0, *[20.0] * 8]}, made)["analysis"]["spectral_vs_best"]
    assert noisy["difference_interval"][0] < 0 <= noisy["difference_interval"][1]
    assert noisy["spectral_better"] is False
    for nothing in ({}, {"loss": math.nan}, {"accuracy": 1.0}):
        with pytest.raises(ValueError, match="wanted a finite loss or perplexity"):
            compare(nothing, made)


def test_results_are_saved_without_nan(tmp_path):
    path = BaselineEvaluator().save_baseline_results({"loss": math.nan}, tmp_path, "t")
    assert path.name == "baseline_evaluation_t.json"
    assert json.loads(path.read_text())["validation_results"] == {"loss": None}


def test_an_error_of_a_model_is_not_turned_into_numbers():
    class Broken(WaveGPT):
        def forward(self, idx):
            raise RuntimeError("broken")

    config = WaveGPTConfig(
        vocab_size=4, d_model=8, num_layers=1, num_heads=2, model_type="standard", use_interference_attention=False
    )
    with pytest.raises(RuntimeError, match="broken"):
        train_steps_of(Broken(config), loader=loader(random_text(0)), steps=2, seed=0, rate=1e-3, device="cpu")
