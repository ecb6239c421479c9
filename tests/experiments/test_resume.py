"""A run that is really killed, twice, and goes on as if nothing had been."""

import os
import signal
import subprocess
import sys

from tests.trained import timeless
from tests.training.tiny import write_text
from undula.training.manifest import newest_whole

PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
from tests.training.tiny import tiny_config
from undula.experiments import run
from undula.training import trainer

torch.set_num_threads(1)
text, out, when, step = *map(Path, sys.argv[1:3]), sys.argv[3], int(sys.argv[4])
config = tiny_config(text, steps=60, save_every=27, eval_every=12, log_every=5, batch_size=2)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def watch(progress):
    if when == "training" and progress.step >= step:
        die()

publish = trainer.publish
def die_in_the_middle(built, checkpoints, now, data):
    if when == "saving" and now >= step:
        (built / "model.safetensors").write_bytes(b"half")
        die()
    return publish(built, checkpoints, now, data)
trainer.publish = die_in_the_middle

run.train_run(config, out, resume=(out / "config.json").exists(), progress=watch, cache_dir=text.parent / "cache")
"""


def train(text, out, when="never", step=0):
    """Run or resume in a process of its own, which kills itself at a step; return what it wrote to stderr."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", PROGRAM, str(text), str(out), when, str(step)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == (0 if when == "never" else -signal.SIGKILL), done.stderr
    return done.stderr


def content(checkpoint):
    return {p.name: p.read_bytes() for p in checkpoint.iterdir()}


def assert_same(run, whole):
    for name in ("step-54", "step-60"):
        ours, wanted = content(run / "checkpoints" / name), content(whole / "checkpoints" / name)
        # Every file: parameters, optimizer, schedule, generators, history, and the sums of them all.
        assert {n for n in wanted if ours.get(n) != wanted[n]} == set()
        assert ours.keys() == wanted.keys()
    assert timeless(run) == timeless(whole)


def test_killed_in_training_and_again_while_saving_the_run_is_the_same_to_the_last_bit(tmp_path):
    text, undisturbed, out = write_text(tmp_path), tmp_path / "undisturbed", tmp_path / "run"
    assert train(text, undisturbed) == ""
    train(text, out, "training", 40)
    assert newest_whole(out).step == 27
    assert max(line["step"] for line in timeless(out)) == 40
    train(text, out, "saving", 54)
    assert [p.name for p in (out / "checkpoints").iterdir() if p.name != "step-27"] == [".building"]
    assert newest_whole(out).step == 27
    train(text, out)
    assert_same(out, undisturbed)
    assert (out / "LATEST").read_text() == "step-60\n"
    assert not (out / "checkpoints" / ".building").exists()
