"""The report on a run, and the test of the checks: every planted defect is caught, a sound model is not accused."""

import dataclasses
import math

import pytest
import torch

from undula.data.build import prepare
from undula.data.config import DataConfig
from undula.experiments import planted
from undula.experiments.planted import Faulty, self_test
from undula.experiments.run import load_run
from undula.experiments.validate import (
    Options,
    Pairs,
    check_construction,
    check_gap,
    check_overlap,
    check_reconstruction,
    check_score,
    check_steps,
    check_trend,
    text_windows,
    validate_run,
)
from undula.nn.wavelet import EnhancedWaveletTransform
from undula.nn.wavelet_basis import WaveletBasis
from undula.ops.metrics import Metrics
from undula.training.config import TrainConfig
from undula.training.spectral_gap import features_of
from undula.validation.batches import BatchScore
from undula.validation.spectral_gap import SpectralGapAnalyzer

QUICK = Options(audits=("prefix", "leak"), baseline_steps=2, baseline_windows=4)


@pytest.fixture(scope="module")
def prepared(text):
    return prepare(DataConfig(source=str(text), block_size=16), None)


def test_every_planted_defect_is_caught_and_scores_below_half(prepared):
    found = self_test(prepared)
    assert [p.defect for p in found if not p.caught] == []
    assert len(found) == 13
    assert all(p.report.score < 50 for p in found if p.check != "mixing")


def test_a_check_that_notices_nothing_fails_the_self_test(prepared, monkeypatch):
    monkeypatch.setattr(planted, "audit_language_model", lambda model, size, audits: [])
    assert sum(not p.caught for p in self_test(prepared)) == len(planted.MODELS)


def test_what_is_sound_is_not_accused(prepared):
    windows = text_windows(prepared, None)
    assert check_construction(Pairs(windows, 40), 16).passed
    assert check_overlap(prepared, None, 16).passed
    assert check_overlap(prepared, 5, 16).passed
    sound = Faulty(Faulty.sound)
    for _, name, _ in planted.MODELS:
        (finding,) = planted.audit_language_model(sound, planted.VOCABULARY, audits=(name,))
        assert finding.passed, name


def test_a_run_is_reported_with_all_that_was_asked(trained, monkeypatch):
    monkeypatch.setattr("undula.experiments.baselines.SIZES", {"tiny": (16, 1, 2, 24)})
    report = validate_run(trained, QUICK)
    passed = {c.name: c.passed for c in report.checks}
    wanted = ("perplexity calculation", "dataset overlap", "sequence construction", "prefix", "leak")
    assert [passed[name] for name in wanted] == [True] * 5
    assert passed["streaming"] is None
    assert "streaming" in report.to_dict()["not_run"]
    assert report.verdict != "PASSED"
    assert passed["better than counting"] is not None


def test_a_wavelet_that_does_not_come_back_fails():
    model = torch.nn.Sequential(EnhancedWaveletTransform("db4", levels=2))
    assert check_reconstruction(model).passed
    model[0].inverse = lambda approx, details: torch.zeros(2, 127, 3)
    assert check_reconstruction(model).passed is False
    model[0].inverse = lambda approx, details: torch.full((2, 127, 3), math.nan)
    assert check_reconstruction(model).passed is False
    assert not check_reconstruction(torch.nn.Linear(2, 2)).claimed


@pytest.mark.parametrize(
    ("loss", "passed"),
    [(1.5, [True, True]), (3.0, [False, True]), (0.001, [True, False]), (math.nan, [False, False])],
)
def test_a_loss_has_to_be_possible(loss, passed):
    score = BatchScore(metrics=Metrics(loss * 100, 100))
    assert [c.passed for c in check_score(score, 12)] == passed


def test_filters_that_are_no_wavelets_fail():
    """Weights of a mixture may be anything; a tap that was changed is not, nor one that is not finite."""
    model = torch.nn.Sequential(WaveletBasis(("db4", "sym4"), 2))
    torch.nn.init.normal_(model[0].mix, std=3.0)
    assert check_reconstruction(model).passed
    filters = model[0](torch.device("cpu")).detach()
    for fault in (1.01 * filters, filters + 0.01, filters * math.nan):
        broken = WaveletBasis("db4", 2)
        broken.forward = lambda device, fault=fault: fault
        assert check_reconstruction(torch.nn.Sequential(broken)).passed is False


def test_the_spectral_gap_is_that_of_the_features(trained, prepared):
    model, windows = load_run(trained).model, text_windows(prepared, None)
    found = check_gap(model, Pairs(windows, 3), 8)
    ids = torch.stack([windows[i]["input_ids"] for i in range(3)])
    assert found.value == pytest.approx(SpectralGapAnalyzer().analyze(features_of(model, ids))["spectral_gap"])
    assert 0 <= found.value <= 16 / 15
    assert found.evidence.startswith("of the features of 3 windows")


def test_a_run_that_was_cut_short_is_noticed(prepared):
    config = TrainConfig(name="short", data=prepared.config, steps=8, batch_size=2)
    assert check_steps(config, prepared, 8).passed
    found = check_steps(config, prepared, 6)
    assert (found.passed, found.value, found.threshold) == (False, 6, 8)


def test_a_trend_that_rises_fails():
    assert check_trend([5.0, 4.0, 3.0]).passed
    assert check_trend([3.0, 4.0, 5.0]).passed is False
    assert check_trend([3.0, math.inf]).passed is False
    assert check_trend([3.0]).passed is None


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="batch_size=0"):
        Options(batch_size=0)
    with pytest.raises(ValueError, match="overlap_check_samples=0"):
        dataclasses.replace(QUICK, overlap_check_samples=0)


def test_the_run_is_left_as_it_was(trained):
    before = load_run(trained).model.state_dict()
    validate_run(trained, Options(audits=("leak",)))
    after = load_run(trained).model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
