import json
import logging

import pytest

from undula.training import manifest
from undula.training.manifest import LATEST, MANIFEST, Checkpoint, fault, newest_whole, prune, publish, step_folders


@pytest.fixture
def run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def save(run, step, text="weights"):
    built = run / "checkpoints" / ".building" / f"checkpoint-{step}"
    (built / "deep").mkdir(parents=True)
    (built / "model.safetensors").write_text(f"{text} {step}")
    (built / "deep" / "state.json").write_text("{}")
    return publish(built, run / "checkpoints", step, "text")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_published_checkpoint_is_whole_and_named_by_latest(run):
    saved = save(run, 30)
    assert saved == Checkpoint(run / "checkpoints" / "step-30", 30, "text") == newest_whole(run)
    assert fault(saved.path) is None
    assert (run / LATEST).read_text() == "step-30\n"
    assert set(json.loads((saved.path / MANIFEST).read_text())["files"]) == {"model.safetensors", "deep/state.json"}
    assert not (run / "checkpoints" / ".building" / "checkpoint-30").exists()


def test_steps_are_ordered_as_numbers(run):
    for step in (9, 100, 20):
        save(run, step)
    assert [p.name for p in step_folders(run / "checkpoints")] == ["step-9", "step-20", "step-100"]
    assert newest_whole(run).step == 100


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: flip(p / "model.safetensors"), "model.safetensors is not what was written"),
        (lambda p: flip(p / "deep" / "state.json"), "deep/state.json is not what was written"),
        (lambda p: (p / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda p: (p / MANIFEST).unlink(), "has no manifest.json"),
        (lambda p: (p / MANIFEST).write_text('{"files": '), "manifest.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_message(run, caplog, damage, message):
    save(run, 10)
    damage(save(run, 20).path)
    with caplog.at_level(logging.WARNING):
        assert newest_whole(run).step == 10
    assert message in caplog.text
    assert "step-20 is damaged" in caplog.text
    assert "taking" in caplog.text


def test_no_checkpoint_at_all_is_none_and_none_whole_is_an_error(run):
    assert newest_whole(run) is None
    flip(save(run, 10).path / "model.safetensors")
    with pytest.raises(ValueError, match="step-10 is damaged.*no whole one is left"):
        newest_whole(run)


@pytest.mark.parametrize("broken", ["write_flushed", "flush", "sha256_sums"])
def test_a_checkpoint_that_cannot_be_finished_leaves_the_one_before(run, monkeypatch, broken):
    save(run, 10)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(manifest, broken, full)
        with pytest.raises(OSError, match="No space left"):
            save(run, 20)
    assert newest_whole(run).step == 10
    assert (run / LATEST).read_text() == "step-10\n"


def test_a_folder_of_the_same_step_is_replaced(run):
    flip(save(run, 10).path / "model.safetensors")
    assert fault(save(run, 10, "new").path) is None
    assert (run / "checkpoints" / "step-10" / "model.safetensors").read_text() == "new 10"


def test_pruning_keeps_the_newest_and_never_the_one_that_was_just_written(run):
    for step in (10, 20, 30, 40):
        save(run, step)
    prune(newest_whole(run), keep=2)
    assert [p.name for p in step_folders(run / "checkpoints")] == ["step-30", "step-40"]
    flip(run / "checkpoints" / "step-40" / "model.safetensors")
    # The run fell back to 30 and saves 35: 40 is known to be damaged and must not push 35 out.
    prune(save(run, 35), keep=1)
    assert [p.name for p in step_folders(run / "checkpoints")] == ["step-35"]
