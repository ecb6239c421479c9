"""`undula train`: what it makes, how it goes on after an interruption, and what it refuses, in one line each."""

import errno
import json
import shutil

import pytest
import yaml

from tests.trained import SMALL, timeless, train
from undula.cli.main import main
from undula.cli.progress import LiveProgress
from undula.experiments.run import load_run
from undula.training import trainer


def test_a_run_is_a_folder(trained):
    config = json.loads((trained / "config.json").read_text())
    assert (config["name"], config["steps"], config["model"]["vocab_size"]) == ("smoke", 4, 257)
    assert (trained / "LATEST").read_text() == "step-4\n"
    assert [line["step"] for line in timeless(trained) if "validation_loss" in line] == [2, 4]


def test_configuration_of_a_run_makes_the_same_run(trained, tmp_path):
    again = tmp_path / "again"
    assert main(["train", "attention_lm", "--config", str(trained / "config.json"), "--out", str(again)]) == 0
    assert timeless(again) == timeless(trained)


def test_yaml_file_comes_before_the_command_line(text, tmp_path):
    values = {"steps": 3, "data": {"source": str(text)}, "model": {"backbone": {"d_ff": 24}}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    out = tmp_path / "out"
    assert main(["train", "smoke", "--config", str(tmp_path / "c.yaml"), "--out", str(out), *SMALL, "steps=2"]) == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["steps"], config["model"]["backbone"]["d_ff"]) == (2, 24)


def test_pyramids_are_put_where_the_command_line_says(text, tmp_path):
    out, where = tmp_path / "pyramid", "model.backbone.pyramid"
    changes = (f"{where}.after=0,1", f"{where}.shared=true", f"{where}.band_num_layers=1,1,1")
    assert train(out, text, *changes, f"{where}.band_strides=4,2,1") == 0
    stack = load_run(out).model.model.transformer.backbone
    assert stack.places == [[0], [0]]
    assert [band.stride for band in stack.pyramids[0].bands] == [4, 2, 1]
    # The gate has left its start, and what is behind it has begun to learn.
    assert stack.pyramids[0].gate.abs().min() > 1e-5


def test_interrupted_run_goes_on_as_if_nothing_had_happened(trained, text, tmp_path, monkeypatch, capsys):
    out = tmp_path / "stopped"

    def stop(listener, progress):
        listener.step = progress.step
        if progress.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LiveProgress, "__call__", stop)
        assert train(out, text) == 130
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == f"stopped at step 3; last checkpoint: step-2. Go on with: undula train --resume {out}"
    assert main(["train", "--resume", str(out)]) == 0
    assert timeless(out) == timeless(trained)
    model = "checkpoints/step-4/model.safetensors"
    assert (out / model).read_bytes() == (trained / model).read_bytes()


def test_full_disk_leaves_the_last_checkpoint(trained, text, tmp_path, monkeypatch, capsys):
    out, publish = tmp_path / "full", trainer.publish

    def full(built, checkpoints, step, data):
        if step == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return publish(built, checkpoints, step, data)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "publish", full)
        assert train(out, text) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "then resume" in error
    assert error.count("\n") == 1
    assert main(["train", "--resume", str(out)]) == 0
    assert timeless(out) == timeless(trained)


BAD = [
    (["data.source=nowhere.txt"], "nowhere.txt"),
    (["data.source=empty.txt"], "is empty; give a file with text"),
    (["data.source=binary.bin"], "is not text (NUL byte at 3)"),
    (["data.source=short.txt", "data.split=tail", "data.block_size=64"], "one window of block_size=64 needs 65"),
    (["stps=3"], "unknown key in TrainConfig 'stps'; did you mean 'steps'?"),
    (["optim.learning_rat=3"], "unknown key in OptimConfig 'learning_rat'; did you mean 'learning_rate'?"),
    (["steps=many"], "steps: got 'many', wanted int"),
    (["steps=0"], "steps=0; wanted at least 1"),
    (["model.backbone.mixers=fft_cov"], "unknown mixer 'fft_cov'; did you mean 'fft_conv'?"),
    (["model.backbone.mixers=attention", "model.backbone.num_heads=5"], "d_model=24 is not a multiple of"),
    (["model.family=waves"], "unknown model family 'waves'; did you mean 'wave'?"),
    (["data.block_size=64", "model.context_length=32"], "longer than model.context_length=32"),
    (["--config", "none.yaml"], "no configuration file none.yaml"),
    (["--resume", "elsewhere"], "leave out all else"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[words[0] for words, _ in BAD])
def test_bad_input_is_one_line(words, said, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.bin").write_bytes(b"abc\0def")
    (tmp_path / "short.txt").write_text("too short")
    own = [] if words[0].startswith("data.source") else [f"data.source={text}"]
    assert main(["train", "smoke", *own, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("undula: ")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs" / "smoke" / "config.json").exists()


def test_a_folder_that_holds_a_run_is_not_overwritten(trained, text, capsys):
    before = (trained / "metrics.jsonl").read_bytes()
    assert train(trained, text) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_resume_of_no_run(tmp_path, capsys):
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err


def damage(folder):
    model = folder / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"?")


def test_resume_passes_over_a_damaged_checkpoint(trained, tmp_path, caplog):
    out = tmp_path / "copy"
    shutil.copytree(trained, out)
    damage(out / "checkpoints" / "step-4")
    assert main(["train", "--resume", str(out)]) == 0
    assert "step-4 is damaged (model.safetensors is not what was written); taking" in caplog.text
    assert timeless(out) == timeless(trained)


def test_nothing_whole_to_resume(trained, tmp_path, capsys):
    out = tmp_path / "copy"
    shutil.copytree(trained, out)
    for name in ("step-2", "step-4"):
        damage(out / "checkpoints" / name)
    assert main(["train", "--resume", str(out)]) == 2
    assert "no whole one is left" in capsys.readouterr().err
    assert main(["generate", str(out), "--prompt", "A"]) == 2
    assert "no whole one is left" in capsys.readouterr().err
