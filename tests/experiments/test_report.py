"""The report: one file, true numbers, no ranking of what failed its audit."""

import base64
import dataclasses
import re

import pytest

from undula.audit.finding import at_most, not_measured
from undula.experiments import report
from undula.experiments.report import Examined, verdict, write_report
from undula.experiments.run import load_run, read_metrics

SOUND = [at_most("leak", 0.0, 1e-10, "influence"), not_measured("packing", "not claimed")]


def examined(folder, findings=SOUND):
    return Examined(run=load_run(folder), lines=read_metrics(folder), findings=findings, prompt="A <b>", ids=[1, 2, 3])


@pytest.fixture
def models(trained, plain):
    return [examined(trained), examined(plain)]


def test_verdict_compares_scores_and_sizes(models):
    ours, other = models
    bits = 100 * (ours.bits_per_byte / other.bits_per_byte - 1)
    size = 100 * (ours.parameters / other.parameters - 1)
    said = verdict(models).replace("\u00a0", " ")
    assert said.startswith(f"smoke needs {ours.bits_per_byte:.3f} bits for a byte of held-out text, {abs(bits):.1f} % ")
    assert (
        f"{'less' if bits < 0 else 'more'} than attention_lm ({other.bits_per_byte:.3f}) with {abs(size):.1f} % "
        in said
    )
    assert said.endswith(f"{'fewer' if size < 0 else 'more'} parameters.")


def test_what_fails_its_audit_is_not_ranked(models):
    leaky = dataclasses.replace(models[1], findings=[at_most("leak", 1.0, 1e-10, "influence")])
    assert verdict([models[0], leaky]) == (
        "attention_lm fails its audit (leak): its score says nothing, so nothing is ranked here."
    )


def test_numbers_are_those_of_the_run(models, trained):
    lines = read_metrics(trained)
    assert models[0].bits_per_byte == lines[-1]["validation_bits_per_byte"]
    speeds = sorted(line["tokens_per_second"] for line in lines if "tokens_per_second" in line)
    assert models[0].tokens_per_second == (speeds[1] + speeds[2]) / 2


def test_the_report_needs_nothing_else(models, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "png", lambda figure, width: b"picture")
    path = tmp_path / "deep" / "report.html"
    write_report(models, path, "A & B")
    html = path.read_text()
    assert "<h1>A &amp; B</h1>" in html
    assert "<b>A &lt;b&gt;</b>" in html
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert sources == [f"data:image/png;base64,{base64.b64encode(b'picture').decode()}"] * 6
    assert "http" not in html
    assert f"{models[0].bits_per_byte:.4f}" in html
    assert f"{models[0].parameters:,}" in html
    assert "<code>model.family</code>" in html
    assert "<code>seed</code>" not in html
    assert "pass  0 (limit 1e-10)" in html


def test_a_model_without_waves_is_reported_too(models, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "png", lambda figure, width: b"picture")
    write_report(models[1:], tmp_path / "r.html", "T")
    html = (tmp_path / "r.html").read_text()
    assert html.count("<img ") == 1
    assert html.count("What the model wrote") == 1


def test_no_score_no_report(models, tmp_path):
    with pytest.raises(ValueError, match="has no score of held-out text yet"):
        verdict([dataclasses.replace(models[0], lines=[])])
    with pytest.raises(ValueError, match="needs at least one model"):
        write_report([], tmp_path / "r.html", "T")
