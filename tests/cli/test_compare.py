"""`undula compare`: what it hands over, what it prints, and what it answers to mistakes."""

import pytest

from undula.cli.compare import _title, chosen
from undula.cli.main import main

SMALL = ("steps=2", "batch_size=2", "data.block_size=16", "eval_batch_size=64", "optim.warmup_steps=1")
SMALL = (*SMALL, "model.backbone.num_layers=1", "model.backbone.d_model=16", "model.backbone.d_ff=8")
SMALL = (*SMALL, "model.codec.d_model=8")


def test_recipes_are_compared_and_recorded(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("undula.bench.train.peak_memory", lambda *_, **__: 7)
    monkeypatch.setattr("undula.experiments.cell.audit_language_model", lambda model, audits: [])
    words = ["compare", "short_conv_lm", "attention_lm", "--seeds", "1", "--data", str(text), *SMALL]
    assert main([*words, "--out", str(tmp_path / "out"), "--results", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "attention_lm, seed 0, 2 steps" in output
    assert f"records added to {tmp_path / 'compare.jsonl'}" in output
    assert len((tmp_path / "compare.jsonl").read_text().splitlines()) == 3


def test_protocol_data_and_overrides():
    config = chosen("wave_lm", "p0", "some.txt", {"steps": 7})
    assert (config.data.source, config.data.tokenizer, config.data.block_size) == ("some.txt", "char", 64)
    assert (config.batch_size, config.steps) == (12, 7)
    assert chosen("wave_lm", None, "some.txt", {}).data.source == "some.txt"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wave_ml"], "unknown recipe 'wave_ml'; did you mean 'wave_lm'?"),
        (["wave_lm", "--protocol", "p1"], "unknown protocol 'p1'"),
        (["wave_lm", "smoke"], "would not be trained alike"),
        (["wave_lm", "wave_lm"], "wave_lm is named twice"),
        (["wave_lm", "--data", "/no/such/file"], "/no/such/file"),
        (["wave_lm", "--seeds", "0"], "seeds=0; wanted at least 1"),
        (["wave_lm", "stpes=3"], "did you mean 'steps'?"),
        (["wave_lm", "--baseline", "smoke"], "baseline='smoke' does not take part"),
        ([], "recipes"),
    ],
)
def test_mistakes_are_one_line(words, said, tmp_path, capsys):
    assert main(["compare", *words, "--out", str(tmp_path / "out"), "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_is_called_after_what_was_changed_and_not_after_a_place():
    assert _title(("p0", "a.txt"), {"steps": 3, "data.source": "/home/me/a.txt"}) == "p0, a.txt, steps=3"
    assert _title((None, "a.txt"), {}) == "a.txt"
