"""The spectral gap in training: that of the features, at each score, and without any influence."""

import dataclasses

import pytest
import torch
from torch import nn

from tests.trained import without_time
from tests.training.tiny import tiny_config, tiny_trainer, write_text
from undula.data.build import prepare
from undula.training.records import read_lines
from undula.training.spectral_gap import features_of
from undula.validation.spectral_gap import SpectralGapAnalyzer


def trained(folder, name, **more):
    config = dataclasses.replace(tiny_config(write_text(folder), accumulation=1), **more)
    torch.manual_seed(0)
    trainer = tiny_trainer(config, folder / name)
    trainer.train()
    return trainer, read_lines(folder / name / "metrics.jsonl")


def test_the_gap_is_told_at_each_score_and_changes_nothing(tmp_path):
    with_gap, lines = trained(tmp_path, "with", spectral_gap=3)
    without, plain = trained(tmp_path, "without")
    told = [line for line in lines if "spectral_gap" in line]
    assert [line["step"] for line in told] == [10, 20, 24]
    assert [line["step"] for line in lines if "validation_loss" in line] == [10, 20, 24]
    windows = prepare(with_gap.config.data, tmp_path / "cache").eval_windows()
    ids = torch.stack([windows[i]["input_ids"] for i in range(3)])
    layers = []
    model = with_gap.model.eval()
    model.model.backbone.norm_f.register_forward_pre_hook(lambda module, args: layers.append(args[0].detach()))
    model(ids)
    want = SpectralGapAnalyzer().analyze(layers[0])
    found = [told[-1][name] for name in ("spectral_gap", "spectral_groups", "spectral_parts")]
    assert found == [want["spectral_gap"], want["groups"], want["parts"]]
    same = zip(with_gap.model.state_dict().items(), without.model.state_dict().values(), strict=True)
    assert all(torch.equal(value, other) for (_, value), other in same)
    names = {"spectral_gap", "spectral_groups", "spectral_parts"}
    bare = [[{k: v for k, v in without_time(line).items() if k not in names} for line in run] for run in (lines, plain)]
    assert bare[0] == bare[1]


def test_modes_and_random_numbers_stay(tmp_path):
    trainer = tiny_trainer(tiny_config(write_text(tmp_path)), tmp_path / "run")
    model, before = trainer.model.train(), torch.get_rng_state()
    first, again = (features_of(model, torch.arange(6)[None]) for _ in range(2))
    assert torch.equal(first, again)
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_what_has_no_features_is_refused():
    with pytest.raises(ValueError, match="Linear holds no language model of undula"):
        features_of(nn.Linear(2, 2), torch.zeros(1, 1, dtype=torch.long))
    with pytest.raises(ValueError, match="spectral_gap=-1; wanted at least"):
        tiny_config("x", spectral_gap=-1)
