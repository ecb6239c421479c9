"""`undula audit`: every finding in a table; a failed one decides the exit code."""

from functools import partial

from undula.audit import run as audits
from undula.audit.finding import at_most, not_measured
from undula.cli.main import main


def test_findings_of_a_model(trained, monkeypatch, capsys):
    quick = partial(audits.audit_language_model, audits=("prefix", "packing"))
    monkeypatch.setattr(audits, "audit_language_model", quick)
    assert main(["audit", str(trained)]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[:2] for line in shown.splitlines() if line.startswith("pass")] == [
        ["pass", "prefix"],
        ["pass", "packing"],
    ]
    assert shown.endswith("nothing failed\n")


def test_a_failure_decides_the_exit_code(trained, monkeypatch, capsys):
    findings = [at_most("leak", 0.5, 1e-10, "influence"), not_measured("packing", "not claimed")]
    monkeypatch.setattr(audits, "audit_language_model", lambda model: findings)
    assert main(["audit", str(trained)]) == 1
    shown = capsys.readouterr().out
    assert "FAIL  leak" in shown
    assert "n/a   packing" in shown
    assert shown.endswith("failed: leak\n")
