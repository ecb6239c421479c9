"""`undula bench wave-gpt`: two models, tuned alike, in equal steps and in equal time."""

import pytest

from tests.cli.test_ablate import SMALL
from undula.bench.records import read_records
from undula.cli.main import main


def test_both_are_tuned_trained_and_told(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("undula.bench.train.peak_memory", lambda *_, **__: 7)
    monkeypatch.setattr("undula.experiments.cell.audit_language_model", lambda model, audits: [])
    words = ["bench", "wave-gpt", "--model", "tiny", "--steps", "4", "--seeds", "1", "--dataset", str(text), *SMALL]
    assert main([*words, "--out", str(tmp_path / "out"), "--results", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "full_physics, tuned" in output
    assert "standard_transformer, tuned" in output
    summary = read_records(tmp_path / "compare.jsonl")[-1]
    rows = {(row["model"], row["budget"]): row for row in summary.figures["rows"]}
    assert set(rows) == {
        ("full_physics", "equal steps"),
        ("standard_transformer", "equal steps"),
        ("full_physics", "equal time"),
        ("standard_transformer", "equal time"),
    }
    models = {model["name"]: model for model in summary.config["models"]}
    assert models["full_physics"]["optim"]["kind"] == "wave_native"
    assert models["full_physics"]["loss"]["kind"] == "wave_coherence"
    assert models["standard_transformer"]["optim"]["kind"] == "adamw"


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--model", "tinny"], "unknown size 'tinny'; did you mean 'tiny'"), (["--seeds", "0"], "seeds=0")],
)
def test_mistakes_are_one_line(words, said, tmp_path, capsys):
    size = [] if "--model" in words else ["--model", "tiny"]
    assert main(["bench", "wave-gpt", *size, *words, "--out", str(tmp_path), "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
