"""`undula demo`: two runs, two audits, one report; going on where it was stopped."""

import json

from tests.trained import SMALL
from undula.audit import run as audits
from undula.audit.finding import at_most
from undula.cli import demo
from undula.cli.main import main
from undula.cli.progress import LiveProgress
from undula.experiments import report


def finding(passed):
    return [at_most("leak", 0.0 if passed else 1.0, 1e-10, "influence")]


def run(text, out):
    return main(["demo", "--out", str(out), f"data.source={text}", "steps=2", *SMALL])


def test_demo_stopped_and_gone_on(text, tmp_path, monkeypatch, capsys):
    out = tmp_path / "demo"
    monkeypatch.setattr(report, "audit_language_model", lambda model: finding(True))
    monkeypatch.setattr(report, "png", lambda figure, width: b"picture")
    monkeypatch.setattr(demo, "LENGTH", 8)

    def stop(listener, progress):
        if listener.label == "attention_lm" and progress.step == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LiveProgress, "__call__", stop)
        assert run(text, out) == 130
    assert capsys.readouterr().out.splitlines()[-1] == f"stopped; go on with: undula demo --out {out}"
    first = (out / "metrics.jsonl").read_bytes()
    assert run(text, out) == 0
    assert (out / "metrics.jsonl").read_bytes() == first
    shown = capsys.readouterr().out
    assert "wave_lm continues" in shown
    assert "bits for a byte of held-out text" in " ".join(shown.split())
    html = (out / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 6
    configs = [json.loads((folder / "config.json").read_text()) for folder in (out, out / "baseline")]
    assert [config["name"] for config in configs] == ["wave_lm", "attention_lm"]
    # The demonstration's folder is a run as any other.
    assert main(["show", str(out)]) == 0
    monkeypatch.setattr(audits, "audit_language_model", lambda model: finding(False))
    assert main(["audit", str(out)]) == 1
    assert main(["generate", str(out), "--prompt", "A", "--max-new-tokens", "2"]) == 0
    monkeypatch.setattr(report, "audit_language_model", lambda model: finding(False))
    monkeypatch.setattr(report, "pictures", lambda models: {})
    assert run(text, out) == 1
