"""A run with the wave-native optimizer goes on from a checkpoint as if it had never stopped."""

import shutil

import torch
from safetensors.torch import load_file

from tests.training.tiny import tiny_config, write_text
from undula.experiments.run import train_run
from undula.optim.config import OptimConfig, WaveNativeConfig
from undula.training.state import load_tree


def test_a_resumed_run_is_the_same_to_the_last_bit(tmp_path):
    options = WaveNativeConfig(rank=3, refresh=4, project_every=1, adaptive=True)
    optim = OptimConfig(kind="wave_native", wave_native=options, warmup_steps=5)
    config = tiny_config(
        write_text(tmp_path), mixers=("attention",), optim=optim, steps=8, save_every=4, eval_every=8, accumulation=1
    )
    whole = train_run(config, tmp_path / "whole", cache_dir=tmp_path / "cache")
    shutil.copytree(whole.folder, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "step-8")
    again = train_run(config, tmp_path / "again", resume=True, cache_dir=tmp_path / "cache")
    assert again.checkpoint.name == "step-8"
    models = [load_file(run.checkpoint / "model.safetensors") for run in (whole, again)]
    assert all(torch.equal(models[1][name], value) for name, value in models[0].items())
    states = [load_tree(run.checkpoint / "optimizer.safetensors")["state"] for run in (whole, again)]
    assert any("left" in state for state in states[0].values())
    for key, state in states[0].items():
        assert {"velocity", "square", "step"} <= set(state)
        for name, value in state.items():
            other = states[1][key][name]
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
