"""The run of an audio codec: what it writes, how it goes on, and what stops it."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from tests.trained import timeless
from undula.data import audio
from undula.data.config import AudioDataConfig
from undula.experiments import codec as runs
from undula.losses.config import SoundLossConfig
from undula.models.config import AudioCodecConfig
from undula.optim.config import OptimConfig
from undula.training import codec as training
from undula.training import trainer
from undula.training.audio_config import AudioTrainConfig
from undula.training.manifest import newest_whole
from undula.training.state import load_tree
from undula.training.trainer import NonFiniteError

SIZES = {"num_harmonics": 4, "n_fft": 64, "hop_length": 16, "d_model": 8, "num_layers": 1, "sample_rate": 8000}


def tiny(**changes):
    values = {
        "name": "tiny",
        "model": AudioCodecConfig(**SIZES, dropout=0.1),
        "data": AudioDataConfig(crop_length=200),
        "optim": OptimConfig(warmup_steps=2),
        "loss": SoundLossConfig(n_fft=(32, 64)),
        "steps": 6,
        "batch_size": 2,
        "log_every": 1,
        "eval_every": 3,
        "save_every": 2,
        "device": "cpu",
    }
    return AudioTrainConfig(**values | changes)


@pytest.fixture(autouse=True)
def few_tones(monkeypatch):
    monkeypatch.setattr(audio, "NUM_TONES", 6)
    tones = audio.synthetic_tones
    monkeypatch.setattr(audio, "synthetic_tones", lambda rate: tones(rate, 6))


def test_a_run_is_a_folder_and_is_told(tmp_path):
    told = []
    before = torch.get_rng_state()
    result = runs.train_codec(tiny(), tmp_path / "run", progress=told.append)
    assert torch.equal(torch.get_rng_state(), before)
    written = timeless(result.folder)
    assert [line["step"] for line in written if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in written if "validation_si_sdr" in line] == [3, 6]
    assert written[-1]["validation_si_sdr"] == result.validation.mean
    for line in written:
        if "loss" in line:
            assert abs(line["loss"] - line["waveform"] - 0.3 * line["spectral"]) < 1e-6
    assert (told[0].step, told[-1].step, told[-1].validation.mean) == (0, 6, result.validation.mean)
    assert [p.name for p in sorted((result.folder / "checkpoints").iterdir())] == ["step-4", "step-6"]
    assert {"config.json", "model.safetensors"} <= {p.name for p in result.checkpoint.iterdir()}
    config = json.loads((result.folder / "config.json").read_text())
    assert (config["task"], config["model"]["num_harmonics"]) == ("audio_codec", 4)
    assert result.parameters == sum(p.numel() for p in runs.load_codec_run(result.folder).parameters())


def test_training_makes_the_loss_smaller_and_the_loaded_codec_has_the_score(tmp_path):
    config = tiny(steps=30, eval_every=30, save_every=30, optim=OptimConfig(learning_rate=1e-2, warmup_steps=2))
    result = runs.train_codec(config, tmp_path / "run")
    losses = [line["loss"] for line in timeless(result.folder) if "loss" in line]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.1
    assert runs.evaluate_codec_run(result.folder).mean == result.validation.mean
    assert runs.evaluate_codec_run(result.folder, "tones").ratios.keys() >= result.validation.ratios.keys()


def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path, monkeypatch):
    config = tiny(accumulation=2)
    whole = runs.train_codec(config, tmp_path / "whole")

    def stop(progress):
        if progress.step == 5:
            raise KeyboardInterrupt

    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        runs.train_codec(config, stopped, progress=stop)
    assert newest_whole(stopped).step == 4
    torch.rand(7)
    again = runs.train_codec(config, stopped, resume=True)
    assert timeless(stopped) == timeless(whole.folder)
    names = {p.name for p in whole.checkpoint.iterdir()}
    assert {name.rpartition(".")[2] for name in names} == {"json", "safetensors"}
    # Python's generator is not the same, and so neither are its sums: the type checker of the tests draws from it.
    for name in names - {"rng-0.safetensors", "manifest.json"}:
        assert (whole.checkpoint / name).read_bytes() == (again.checkpoint / name).read_bytes(), name
    drawn = [load_tree(run.checkpoint / "rng-0.safetensors")["torch"] for run in (whole, again)]
    assert torch.equal(*drawn)
    # A run that is finished is scored, not trained.
    assert runs.train_codec(config, stopped, resume=True).validation == whole.validation


def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path):
    still = AudioCodecConfig(**SIZES, dropout=0.0)
    large = runs.train_codec(tiny(model=still, batch_size=4), tmp_path / "large")
    small = runs.train_codec(tiny(model=still, batch_size=2, accumulation=2), tmp_path / "small")
    wanted = load_file(large.checkpoint / "model.safetensors")
    for name, value in load_file(small.checkpoint / "model.safetensors").items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(timeless(small.folder), timeless(large.folder), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_bfloat16_runs_in_bfloat16_and_hears_nearly_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "_has_bfloat16", lambda kind: True)
    seen, still = set(), AudioCodecConfig(**SIZES)
    plain = runs.train_codec(tiny(model=still, steps=1), tmp_path / "plain")
    with torch.nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: seen.add(output.dtype) if isinstance(module, torch.nn.Linear) else None
    ):
        result = runs.train_codec(tiny(model=still, steps=1, precision="bfloat16"), tmp_path / "run")
    assert result.where == "cpu, bfloat16"
    assert torch.bfloat16 in seen
    assert {p.dtype for p in runs.load_codec_run(result.folder).parameters()} == {torch.float32}
    ours, theirs = (timeless(run.folder)[0]["waveform"] for run in (result, plain))
    assert ours != theirs
    assert ours == pytest.approx(theirs, abs=0.01)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    usual = trainer.publish

    def full(built, checkpoints, step, data):
        if step == 4:
            raise OSError(28, "No space left on device")
        return usual(built, checkpoints, step, data)

    monkeypatch.setattr(trainer, "publish", full)
    with pytest.raises(OSError, match="checkpoint of step 4 .*: No space left on device; those before it"):
        runs.train_codec(tiny(), tmp_path / "run")
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-2"]


def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog):
    result = runs.train_codec(tiny(), tmp_path / "run")
    (result.checkpoint / "model.safetensors").write_bytes(b"half")
    assert newest_whole(result.folder).step == 4
    assert runs.train_codec(tiny(), result.folder, resume=True).validation == result.validation
    assert "model.safetensors is not what was written" in caplog.text


def test_what_does_not_fit_is_refused(tmp_path):
    out = tmp_path / "run"
    runs.train_codec(tiny(steps=2, save_every=2), out)
    with pytest.raises(ValueError, match="holds a run already"):
        runs.train_codec(tiny(), out)
    with pytest.raises(ValueError, match="made from another configuration: steps: 2 -> 6"):
        runs.train_codec(tiny(save_every=2), out, resume=True)
    with pytest.raises(FileNotFoundError, match="not the folder of a run"):
        runs.load_codec_run(tmp_path)
    other = json.loads((out / "checkpoints" / "step-2" / "manifest.json").read_text()) | {"data": "other"}
    (out / "checkpoints" / "step-2" / "manifest.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="are no longer those"):
        runs.evaluate_codec_run(out)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "waveform_distance", lambda made, batch: made.sum() * torch.nan)
    with pytest.raises(NonFiniteError, match="the loss is nan after 0 whole steps; stopped, the batch is in"):
        runs.train_codec(tiny(), tmp_path / "run")
    assert (tmp_path / "run" / "debug" / "step-0" / "batch.safetensors").is_file()


@pytest.mark.parametrize("name", ["steps", "batch_size", "accumulation", "eval_every", "seed"])
def test_bad_values_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=-1; wanted"):
        dataclasses.replace(tiny(), **{name: -1})
