"""Tuning: the same tries for everybody, on text that the run itself does not hold out."""

import pytest

from tests.experiments.test_compare import config
from undula.config import replaced
from undula.data.build import prepare
from undula.experiments.run import read_config
from undula.experiments.tuning import tuned


def test_the_best_of_three_rates_is_taken(text, tmp_path):
    asked = replaced(config(text, "short", "short_conv", steps=8), "optim.min_learning_rate", 1e-4)
    best, losses = tuned(asked, tmp_path)
    rates = [asked.optim.learning_rate * factor for factor in (1 / 3, 1, 3)]
    assert list(losses) == pytest.approx(rates)
    taken = best.optim.learning_rate
    assert losses[taken] == min(losses.values())
    assert best.optim.min_learning_rate == pytest.approx(taken / 10)
    assert (best.steps, best.data, best.model) == (asked.steps, asked.data, asked.model)
    folders = sorted(tmp_path.glob("short/*"))
    trials = [read_config(folder) for folder in folders]
    assert [trial.steps for trial in trials] == [2, 2, 2]
    # Finished trials are not repeated.
    before = [(folder / "metrics.jsonl").read_bytes() for folder in folders]
    assert tuned(asked, tmp_path) == (best, losses)
    assert [(folder / "metrics.jsonl").read_bytes() for folder in folders] == before


def test_trials_hold_out_other_text(text, tmp_path):
    asked = config(text, "short", "short_conv", steps=4)
    tuned(asked, tmp_path)
    trial = read_config(next(tmp_path.glob("short/*")))
    ours, theirs = (prepare(c.data).validation.tokens for c in (asked, trial))
    assert ours.tolist() != theirs.tolist()


def test_a_rate_that_diverges_is_out(text, tmp_path):
    asked = config(text, "short", "short_conv", steps=8)
    wild = replaced(replaced(asked, "optim.learning_rate", 1e30), "optim.warmup_steps", 0)
    with pytest.raises(ValueError, match=r"short has no finite loss with learning rates .*lower optim.learning_rate"):
        tuned(replaced(wild, "steps", 40), tmp_path)
