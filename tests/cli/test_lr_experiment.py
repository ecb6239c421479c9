"""`undula lr-experiment`: which two arms it hands over, what it prints, and what it answers to mistakes."""

import pytest

from undula.cli.main import main
from undula.experiments import lr_experiment as module

SMALL = (
    "--harmonic_bases",
    "4",
    "--embed_dim",
    "16",
    "--num_heads",
    "2",
    "--num_layers",
    "1",
    "--hidden_dim",
    "16",
    "--seq_length",
    "16",
)


@pytest.fixture
def handed(monkeypatch):
    """The arms and options that the experiment is asked for; nothing is trained."""
    asked = []

    def instead(baseline, changed, out, **options):
        asked.append((baseline, changed, out, options))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "lr_experiment", instead)
    return asked


def test_an_experiment_is_run_and_judged(text, tmp_path, capsys):
    words = [
        "lr-experiment",
        "--use_fourier_convolution",
        *SMALL,
        "--dataset_path",
        str(text),
        "--seeds",
        "2",
        "steps=2",
    ]
    assert main([*words, "--output_dir", str(tmp_path / "out"), "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "baseline, seed 1, 2 steps" in shown
    assert ": changed - baseline: " in shown
    assert "from 2 seeds" in shown
    assert (tmp_path / "out" / "experiment_results.json").is_file()
    assert len((tmp_path / "lr_experiment.jsonl").read_text().splitlines()) == 5


def test_the_arms_are_those_that_the_flags_describe(text, tmp_path, handed):
    words = ["lr-experiment", *SMALL, "--dataset_path", str(text), "--out", str(tmp_path), "--target_perplexity", "7"]
    assert main([*words, "--use_signal_embed", "--batch_size", "3", "--weight_decay", "0.02", "steps=40"]) == 130
    rates = ["--learning_rate", "5e-4", "--warmup_steps", "6", "--min_lr_ratio", "0.5"]
    others = ["--baseline_learning_rate", "4e-4", "--baseline_warmup_steps", "0", "--baseline_min_lr_ratio", "1"]
    assert main([*words, *rates, *others, "--epochs", "2", "--seeds", "4"]) == 130
    (baseline, changed, out, options), (constant, warmed, _, more) = handed

    def schedule(config):
        return config.optim.learning_rate, config.optim.min_learning_rate, config.optim.warmup_steps

    assert schedule(baseline) == pytest.approx((1e-6, 1e-7, 4))
    assert schedule(changed) == pytest.approx((2e-4, 2e-5, 4))
    assert (changed.model.signal.share, changed.batch_size, changed.optim.weight_decay) == (None, 3, 0.02)
    assert (changed.steps, changed.data.block_size, changed.model.backbone.d_model) == (40, 16, 16)
    assert (out, options["seeds"], options["target_perplexity"], more["seeds"]) == (tmp_path, 3, 7.0, 4)
    assert (schedule(constant), schedule(warmed)) == ((4e-4, 4e-4, 0), (5e-4, 2.5e-4, 6))
    assert constant.steps == warmed.steps == module.epochs_of(warmed, 2.0).steps


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "1", "steps=9"], "seeds=1; wanted at least 2"),
        (["--warmup_steps", "9", "steps=9"], "warmup_steps=9 of 9 steps never ends"),
        (["--epochs", "1", "steps=9"], "--epochs and steps= both say how long"),
        (["--epochs", "0"], "epochs=0.0; wanted more than 0"),
        (["optim.learning_rate=1e-3", "steps=9"], "optim.learning_rate is what the arms differ in"),
        (["--min_lr_ratio", "1.5", "steps=9"], "min_lr_ratio=1.5; wanted a share of the peak"),
        (
            ["--recipe", "smoke", "--num_layers", "1", "steps=9"],
            "--num_layers describes a SpectralLLM, and --recipe is",
        ),
        (["--num_workers", "2", "steps=9"], "--num_workers: texts are read from memory"),
        (["--use_mps", "steps=9"], "--use_mps, and this machine has no Apple GPU"),
        (["--recipe", "smoek", "steps=9"], "did you mean 'smoke'?"),
    ],
)
def test_mistakes_are_one_line(words, said, text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    out = ["--dataset_path", str(text), "--out", str(tmp_path / "out"), "--results", str(tmp_path)]
    assert main(["lr-experiment", *words, *out]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
