"""`undula ablate`: what it trains, prints and writes, and what it answers to mistakes."""

import json

import pytest

from undula.cli.ablate import chosen, equal_sizes, experiments
from undula.cli.main import main
from undula.models.size import parameter_count
from undula.recipes.wave_gpt import ABLATIONS, ablated

SMALL = ("batch_size=2", "data.block_size=16", "eval_batch_size=64", "optim.warmup_steps=1")
SMALL = (*SMALL, "model.backbone.num_layers=1", "model.backbone.d_model=16", "model.backbone.num_heads=2")


def test_experiments_are_trained_and_told(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("undula.bench.train.peak_memory", lambda *_, **__: 7)
    monkeypatch.setattr("undula.experiments.cell.audit_language_model", lambda model, audits: [])
    words = ["ablate", "--experiment", "qfe_only", "baseline", "--model", "tiny", "--steps", "2", "--seeds", "1"]
    words += ["--dataset", str(text), "--out", str(tmp_path / "out"), "--results", str(tmp_path), *SMALL]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert "ablations, tiny, text.txt" in output
    assert "WaveCoherenceLoss instead of cross entropy" in output
    assert "not told apart" in output
    results = json.loads((tmp_path / "out" / "ablation_results.json").read_text())
    assert list(results) == ["baseline", "qfe_only"] or list(results) == ["qfe_only", "baseline"]
    assert results["qfe_only"]["config"]["loss"]["kind"] == "wave_coherence"


def test_names():
    assert experiments(["all"]) == list(ABLATIONS)
    assert experiments(["pure_wave", "wave_baseline", "baseline"]) == ["baseline", "pure_wave"]
    with pytest.raises(ValueError, match="unknown experiment 'rgd'"):
        experiments(["baseline", "rgd"])


def test_protocol_dataset_and_overrides():
    config = chosen("tiny", "some.txt", "p0", {"steps": 7, "optim.learning_rate": None})
    assert (config.data.source, config.data.tokenizer, config.data.block_size) == ("some.txt", "char", 64)
    assert (config.steps, config.batch_size) == (7, 12)


def test_models_are_of_one_size(text):
    base = chosen("tiny", str(text), None, {})
    sizes = [parameter_count(config.model) for config in equal_sizes([ablated(name, base) for name in ABLATIONS])]
    assert max(sizes) < 1.02 * min(sizes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--experiment", "full_phisics"], "did you mean 'full_physics'"),
        (["--model", "huge"], "unknown size 'huge'"),
        (["--protocol", "p1"], "unknown protocol 'p1'"),
        (["--dataset", "/no/such/file"], "/no/such/file"),
        (["--seeds", "0"], "seeds=0"),
        (["--steps", "0"], "steps=0"),
        (["stpes=3"], "did you mean 'steps'"),
    ],
)
def test_mistakes_are_one_line(words, said, tmp_path, capsys):
    given = ["--model", "tiny"] if "--model" not in words else []
    assert main(["ablate", *given, *words, "--out", str(tmp_path / "out"), "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
