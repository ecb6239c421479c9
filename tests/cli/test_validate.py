"""`undula validate`: the report on the screen and in a file, the exit code, the self-test, and bad arguments."""

import functools
import json

import pytest

from undula.cli.main import main
from undula.config import to_dict
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


def test_the_spectral_gap_is_measured_when_it_is_asked_for(trained, tmp_path, instant):
    asked = instant([check("leak", True, "critical", "")])
    for words in ([], ["--spectral_gap_analysis"]):
        assert main(["validate", str(trained), "--out", str(tmp_path), *words]) == 0
    assert [options.gap_windows for options in asked] == [0, 8]


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


FLAGS = {
    "use_wavelet_attention": ([], ("model.backbone.mixers", ["wavelet_attention"])),
    "use_fourier_convolution": ([], ("model.backbone.mixers", ["fft_conv"])),
    "use_frequency_domain_attention": ([], ("model.backbone.mixers", ["spectral_gate"])),
    "use_stochastic_transform": ([], ("model.backbone.mixers", ["stochastic_wavelet"])),
    "use_adaptive_basis": (
        ["--use_wavelet_attention"],
        ("model.backbone.mixer_options.wavelet_attention.wavelets", ["db4", "sym4"]),
    ),
    "use_signal_embed": ([], ("model.signal.share", None)),
    "embed_dim": (["24"], ("model.backbone.d_model", 24)),
    "hidden_dim": (["40"], ("model.backbone.d_ff", 40)),
    "num_heads": (["2"], ("model.backbone.num_heads", 2)),
    "num_layers": (["3"], ("model.backbone.num_layers", 3)),
    "dropout": (["0.3"], ("model.backbone.dropout", 0.3)),
    "harmonic_bases": (["5"], ("model.signal.harmonics", 5)),
    "wavelet_type": (["sym6"], ("model.backbone.mixer_options.wavelet_attention.wavelets", ["sym6", "db4", "sym4"])),
    "wavelet_levels": (["2"], ("model.backbone.mixer_options.wavelet_attention.levels", 2)),
    "spectral_gap_analysis": ([], ("spectral_gap", 8)),
    "enable_evolution": ([], ("evolution.every", 500)),
    "evolution_population": (["5", "--enable_evolution"], ("evolution.population", 5)),
    "evolution_generations": (["3", "--enable_evolution"], ("evolution.generations", 3)),
    "dataset_path": (["t.txt"], ("data.source", "t.txt")),
    "vocab_size": (["300"], ("data.vocab_size", 300)),
    "seq_length": (["64"], ("data.block_size", 64)),
    "batch_size": (["3"], ("batch_size", 3)),
    "learning_rate": (["0.002"], ("optim.learning_rate", 0.002)),
    "weight_decay": (["0.05"], ("optim.weight_decay", 0.05)),
}
"""Each flag that says what is trained, what is given with it, and what becomes of it."""


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_changes_what_is_trained(flag, tmp_path, monkeypatch):
    """Of the documented flags only a few were read."""
    asked = []
    monkeypatch.setattr("undula.cli.validate.train", lambda config, *_, **__: asked.append(to_dict(config)) or 130)
    words = ["validate", "--recipe", "spectral_llm", "--out", str(tmp_path)]
    values, (path, wanted) = FLAGS[flag]
    # Interrupted before anything was trained: nothing is checked, and the exit code says so.
    assert main([*words, f"--{flag}", *values]) == main(words) == 130
    found, usual = (functools.reduce(lambda part, key: part.get(key), path.split("."), one) for one in asked)
    assert found == wanted
    assert found != usual or flag == "use_adaptive_basis"


def test_switches_that_are_not_given_are_off(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("undula.cli.validate.train", lambda config, *_, **__: asked.append(config) or 130)
    main(["validate", "--use_fourier_convolution", "--use_wavelet_attention", "--out", str(tmp_path)])
    backbone = asked[0].model.backbone
    assert asked[0].name == "spectral_llm"
    assert backbone.mixers == ("wavelet_attention", "fft_conv")
    assert backbone.mixer_options["wavelet_attention"]["wavelets"] == ["db4"]


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
        (["--recipe", "smoke"], "trained into a run; say where with --out"),
        (["x", "--vocab_size", "300"], "vocab_size: a run is checked as it is"),
        (["x", "steps=3"], "steps: a run is checked as it is"),
        (["x", "--log_level", "LOUD"], "log_level=LOUD; wanted one of"),
        (["x", "--self_test"], "leave out the run"),
        (["--embed_dim", "32", "--self_test"], "leave out the run, the recipe and its flags"),
        (["x", "--embed_dim", "32", "--learning_rate", "1e-3"], "learning_rate, embed_dim: a run is checked as it is"),
        (["--recipe", "smoke", "--use_signal_embed", "--out", "o"], "--use_signal_embed describes a SpectralLLM, and"),
        (["--recipe", "spectral_llm", "--num_samples", "9"], "data.max_bytes=N takes the first documents"),
        (["x", "--enable_evolution"], "enable_evolution: a run is checked as it is"),
        (["--evolution_population", "4", "--out", "o"], "--evolution_population without --enable_evolution"),
        (["x", "--batch_size", "0"], "batch_size=0; wanted at least 1"),
    ],
)
def test_bad_arguments_are_one_line(words, said, capsys):
    assert main(["validate", *words]) == 2
    assert said in capsys.readouterr().err
