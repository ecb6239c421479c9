"""`undula validate`: the report on the screen and in a file, the exit code, the self-test, and bad arguments."""

import json

import pytest

from undula.cli.main import main
from undula.experiments import planted, validate
from undula.validation.report import Report, check, skipped


@pytest.fixture
def instant(monkeypatch):
    """Reports that cost nothing; the options that were asked for are kept."""
    asked = []

    def reported(checks):
        monkeypatch.setattr(validate, "validate_run", lambda folder, options: asked.append(options) or Report(checks))
        return asked

    return reported


def test_the_report_is_shown_and_written(trained, tmp_path, instant, capsys):
    asked = instant([check("leak", True, "critical", "influence", 0.0), skipped("packing", "warning", "no time")])
    words = ["--out", str(tmp_path), "--batch_size", "3", "--overlap_check_samples", "7", "--seq_length", "8"]
    assert main(["validate", str(trained), *words]) == 0
    shown = capsys.readouterr().out
    assert "not run: packing" in shown
    assert "100.0 of 100: PASSED WITH WARNINGS" in shown
    (options,) = asked
    assert (options.batch_size, options.overlap_check_samples, options.seq_length) == (3, 7, 8)
    written = json.loads((tmp_path / "comprehensive_validation_results.json").read_text())
    assert (written["score"], written["verdict"]) == (100.0, "PASSED WITH WARNINGS")


def test_a_critical_failure_decides_the_exit_code(trained, tmp_path, instant, capsys):
    instant([check("leak", False, "critical", ""), *[check(name, True, "critical", "") for name in "abcdefghij"]])
    assert main(["validate", str(trained), "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "critical: leak" in shown
    assert "40.0 of 100: FAILED" in shown


def test_a_recipe_is_trained_first(text, tmp_path, instant):
    instant([check("leak", True, "critical", "")])
    small = ("steps=2", "batch_size=2", "model.backbone.num_layers=1", "optim.warmup_steps=1")
    words = ["validate", "--recipe", "smoke", "--out", str(tmp_path), "--dataset_path", str(text), "--seq_length", "16"]
    assert main([*words, *small]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["data"]["block_size"], config["data"]["source"]) == (16, str(text))
    # Once more: the run is there already.
    assert main([*words, *small]) == 0


def test_the_self_test_says_what_was_not_caught(text, monkeypatch, capsys):
    assert main(["validate", "--self_test", "--dataset_path", str(text), "--seq_length", "16"]) == 0
    assert "all 13 caught" in capsys.readouterr().out
    monkeypatch.setattr(planted, "audit_language_model", lambda model, size, audits: [])
    assert main(["validate", "--self_test", "--dataset_path", str(text), "--seq_length", "16"]) == 1
    assert "not caught: reads the token that it is asked for" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give the folder of a run, or --recipe NAME"),
        (["x", "--recipe", "smoke"], "give the folder of a run, or --recipe NAME"),
        (["--recipe", "smoke"], "say where with --out"),
        (["x", "--vocab_size", "300"], "vocab_size: a run is checked as it is"),
        (["x", "steps=3"], "steps: a run is checked as it is"),
        (["x", "--log_level", "LOUD"], "log_level=LOUD; wanted one of"),
        (["x", "--self_test"], "leave out the run"),
        (["x", "--batch_size", "0"], "batch_size=0; wanted at least 1"),
    ],
)
def test_bad_arguments_are_one_line(words, said, capsys):
    assert main(["validate", *words]) == 2
    assert said in capsys.readouterr().err
