"""The question of a learning rate: planted answers come out, both arms are run alike, and nothing is run twice."""

import dataclasses
import json
import math

import pytest

from tests.experiments.test_compare import config, made
from undula.bench.records import read_records
from undula.experiments import lr_experiment as module
from undula.experiments.lr_experiment import BASELINE, CHANGED, epochs_of, judged, lr_experiment
from undula.experiments.run import read_config
from undula.optim.config import OptimConfig


def rated(text, rate, least=None, steps=12, **changes):
    optim = OptimConfig(
        learning_rate=rate, min_learning_rate=rate / 10 if least is None else least, warmup_steps=1, weight_decay=0.0
    )
    return dataclasses.replace(
        config(text, "x", "short_conv", steps=steps, batch_size=4, eval_every=4), optim=optim, **changes
    )


def asked(text, tmp_path, ours, theirs, **options):
    return lr_experiment(theirs, ours, tmp_path / "out", results=tmp_path / "results", **options)


def test_equal_arms_are_inconclusive(text, tmp_path):
    """One arm was run, and a perplexity below the target called the hypothesis validated."""
    same = rated(text, 3e-3, steps=3)
    found = asked(text, tmp_path, same, same)
    assert (found.verdict, found.differences, found.interval) == ("inconclusive", (0.0,) * 3, (0.0, 0.0))
    assert len({loss for arm in found.arms for loss in arm.losses}) == 3


def test_an_absurdly_small_rate_is_refuted(text, tmp_path, monkeypatch):
    good, absurd = rated(text, 1e-2), rated(text, 1e-8)
    found = asked(text, tmp_path / "a", absurd, good, target_perplexity=250.0)
    assert found.verdict == "refuted"
    assert found.interval[0] > 0
    assert len(found.differences) == 3
    before, after = found.arms
    assert (before.name, before.learning_rate, after.learning_rate) == (BASELINE, 1e-2, 1e-8)
    assert found.differences == pytest.approx([b - a for a, b in zip(before.losses, after.losses, strict=True)])
    assert after.target_steps == (None,) * 3
    assert all(step in (4, 8, 12) for step in before.target_steps)

    written = json.loads((tmp_path / "a" / "out" / "experiment_results.json").read_text())
    assert (written["verdict"], written["interval"]) == ("refuted", list(found.interval))
    assert [arm["optim"]["learning_rate"] for arm in written["arms_trained"]] == [1e-2, 1e-8]
    names = {path.name for path in found.files}
    assert names == {"experiment_results.json", "learning_curves.png", "losses.png", "generated_sample.txt"}
    assert all(path.stat().st_size for path in found.files)
    records = read_records(tmp_path / "a" / "results" / "lr_experiment.jsonl")
    assert [r.what for r in records] == ["compare cell"] * 6 + ["learning rate"]

    # Once more: all runs are there already.
    monkeypatch.setattr("undula.experiments.compare.run_cell", lambda *_: 1 / 0)
    again = asked(text, tmp_path / "a", absurd, good, target_perplexity=250.0)
    assert dataclasses.replace(again, files=()) == dataclasses.replace(found, files=())


def test_both_arms_see_the_same_batches_from_the_same_seeds(text, tmp_path):
    asked(text, tmp_path, rated(text, 1e-4, steps=2), rated(text, 1e-3, steps=2), seeds=2)
    cells = {path.parent: json.loads(path.read_text()) for path in (tmp_path / "out" / "cells").rglob("result.json")}
    seen = {(cell["model"], cell["seed"]): cell["batches"] for cell in cells.values()}
    assert seen[BASELINE, 0] == seen[CHANGED, 0] != seen[BASELINE, 1] == seen[CHANGED, 1]
    assert {read_config(folder).steps for folder in cells} == {2}


def test_a_change_that_diverges_is_refuted_and_a_baseline_that_does_an_error(text, tmp_path):
    good, wild = rated(text, 1e-3, steps=40), rated(text, 1e30, steps=40)
    found = asked(text, tmp_path / "a", wild, good)
    assert (found.verdict, found.arms) == ("refuted", ())
    assert found.reason.startswith("the changed arm diverged from seed 0: ")
    assert json.loads((tmp_path / "a" / "out" / "experiment_results.json").read_text())["interval"] == [None, None]
    with pytest.raises(ValueError, match="the baseline diverged from seed 0: "):
        asked(text, tmp_path / "b", good, wild)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((-0.1, -0.11, -0.09), "supported"),
        ((0.1, 0.11, 0.09), "refuted"),
        ((-0.1, -0.2, 0.05), "inconclusive"),
        # The mean is three standard errors away; with three seeds that happens by chance.
        ((-0.01, -0.04, -0.025), "inconclusive"),
    ],
)
def test_the_verdict_is_that_of_the_interval(text, differences, verdict):
    arms = [dataclasses.replace(rated(text, 1e-3), name=name) for name in (BASELINE, CHANGED)]
    bases = (2.0, 2.5, 3.0)
    cells = [made(BASELINE, seed, loss) for seed, loss in enumerate(bases)]
    cells += [made(CHANGED, seed, base + d) for seed, (base, d) in enumerate(zip(bases, differences, strict=True))]
    found = judged(arms, cells, [None] * 6)
    assert found.verdict == verdict
    assert found.differences == pytest.approx(differences)
    assert found.arms[0].perplexity == pytest.approx(math.exp(2.5))


def test_passes_become_steps(text):
    one, two = (epochs_of(rated(text, 1e-3), epochs) for epochs in (1.0, 2.0))
    tokens = len(module.prepare(one.data).train)
    assert one.steps == round(tokens / (4 * 16))
    assert two.steps == pytest.approx(2 * one.steps, abs=1)
    assert (one.eval_every, one.save_every) == (min(4, one.steps // 8), one.steps // 2)


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({}, {"seeds": 1}, "seeds=1; wanted at least 2"),
        ({}, {"target_perplexity": 1.0}, "target_perplexity=1.0; wanted more than 1"),
        ({"steps": 9}, {}, "the arms differ in steps; wanted a difference in optim alone"),
    ],
)
def test_what_can_not_be_judged_is_refused(text, tmp_path, changes, options, said):
    with pytest.raises(ValueError, match=said):
        asked(text, tmp_path, rated(text, 1e-3, **changes), rated(text, 1e-4), **options)
