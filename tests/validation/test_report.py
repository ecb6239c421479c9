"""The score is a weighted mean, a critical failure caps it, and what was not run blocks a pass."""

import json
import math

import pytest

from undula.audit.finding import at_most, not_measured
from undula.validation.report import ADVICE, CRITICAL_AUDITS, Check, Report, check, of_finding, skipped

FINE = [check(name, True, "critical", "") for name in "abcdefgh"]


def test_everything_fine_is_a_pass():
    report = Report(FINE)
    assert (report.score, report.verdict) == (100.0, "PASSED")


def test_a_critical_failure_caps_the_score_whatever_else_passed():
    report = Report([*FINE, check("leak", False, "critical", "")])
    assert (report.score, report.verdict) == (40.0, "FAILED")


def test_a_warning_costs_its_weight():
    report = Report([*FINE, check("x", False, "warning", "")])
    assert report.score == pytest.approx(100 * 40 / 42)
    assert report.verdict == "PASSED WITH WARNINGS"
    assert Report([*FINE, check("x", False, "info", "")]).verdict == "PASSED"


def test_what_was_not_run_is_no_pass_and_no_zero():
    report = Report([*FINE, skipped("x", "warning", "no data")])
    assert (report.score, report.verdict) == (100.0, "PASSED WITH WARNINGS")
    assert report.to_dict()["not_run"] == ["x"]
    assert Report([*FINE, skipped("x", "warning", "no data", claimed=False)]).verdict == "PASSED"


def test_nothing_is_no_pass():
    assert math.isnan(Report([]).score)
    assert Report([]).verdict == "FAILED"


def test_findings_keep_their_numbers_and_their_reason():
    found = of_finding(at_most("leak", 0.5, 1e-10, "influence"))
    assert (found.passed, found.severity, found.value, found.threshold) == (False, "critical", 0.5, 1e-10)
    assert of_finding(at_most("silence", 0.5, 1.0, "")).severity == "warning"
    assert not of_finding(not_measured("packing", "not claimed")).claimed
    assert of_finding(not_measured("loss floor", "not measured: nothing to train")).claimed


def test_what_failed_comes_with_advice_the_worst_first():
    report = Report([*FINE, check("training steps", False, "warning", ""), check("leak", False, "critical", "")])
    told = report.to_dict()["recommendations"]
    assert [line.split(":")[0] for line in told] == ["leak", "training steps"]
    assert told[1] == "training steps: go on with the run: undula train --resume RUN"
    assert Report(FINE).recommendations == []
    assert set(CRITICAL_AUDITS) <= set(ADVICE)


def test_json_has_no_nan(tmp_path):
    Report([*FINE, skipped("x", "info", "")]).save(tmp_path / "new" / "report.json")
    text = (tmp_path / "new" / "report.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["checks"][-1]["score"] is None


def test_scores_that_contradict_are_refused():
    with pytest.raises(ValueError, match="passed=None, score=1.0"):
        Check(name="x", passed=None, severity="info", score=1.0)
