"""The documented trainer: real losses, a target that stops, errors that end it, flags, and exact resumption."""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, RandomSampler

from undula.data.texts import EnhancedTextDataset
from undula.models.spectral_llm_config import Config
from undula.training.loader import LoaderTrainer
from undula.training.spectral_trainer import SpectralTrainer
from undula.training.state import load_tree


class Bytes:
    def encode(self, text):
        return list(text.encode())


class Pairs(nn.Module):
    """Scores by the last token, with dropout; answers with a dictionary, as the documented model does."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.table, self.drop, self.head = nn.Embedding(128, 16), nn.Dropout(0.2), nn.Linear(16, 128)
        self.calls, self.fail_at = 0, fail_at

    def forward(self, ids):
        self.calls += 1
        if self.calls == self.fail_at:
            raise TypeError("a fault in the program")
        return {"logits": self.head(self.drop(self.table(ids)))}


def loader(batch_size=4, shuffle=True):
    made = EnhancedTextDataset(["the quick brown fox jumps over the lazy dog. " * 8], Bytes(), seq_length=16)
    return DataLoader(made, batch_size=batch_size, shuffle=shuffle)


def model(**options):
    torch.manual_seed(0)
    return Pairs(**options)


CONFIG = {"learning_rate": 1e-2, "weight_decay": 0.0}


def trained(folder, epochs=3, made=None, **options):
    made = made or model()
    history = SpectralTrainer(made, CONFIG).train(loader(), loader(5, False), epochs, folder, warmup_steps=2, **options)
    return made, history


FORMS = {
    "flat": lambda section, values: {"learning_rate": 1e-2, **values},
    "nested": lambda section, values: {"training": {"learning_rate": 1e-2}, section: {"learning_rate": 1e-2, **values}},
    "Config": lambda section, values: Config.from_dict({section: values}),
}
"""A configuration as the document writes it, in sections, and as a `Config`."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("learning_rate", 3e-3, lambda config: config.optim.learning_rate),
        ("weight_decay", 0.07, lambda config: config.optim.weight_decay),
        ("warmup_steps", 3, lambda config: config.optim.warmup_steps),
        ("warmup_steps", 0, lambda config: config.optim.warmup_steps),
    ],
)
def test_what_the_configuration_says_of_training_is_what_is_run(form, name, value, read, monkeypatch):
    """warmup_steps, batch_size, seq_length and validate_sequences were accepted, and read by nothing."""
    given = []
    monkeypatch.setattr(LoaderTrainer, "__init__", lambda self, scorer, config, *rest: given.append(config) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        SpectralTrainer(model(), FORMS[form]("training", {name: value})).train(loader(), None, 5)
    assert read(given[0]) == value


def test_a_warm_up_that_is_given_overrules_the_configuration(monkeypatch):
    given = []
    monkeypatch.setattr(LoaderTrainer, "__init__", lambda self, scorer, config, *rest: given.append(config) or 1 / 0)
    for config in ({**CONFIG, "warmup_steps": 3}, CONFIG):
        with pytest.raises(ZeroDivisionError):
            SpectralTrainer(model(), config).train(loader(), None, 5, warmup_steps=2)
    # 500 steps of none: they do not fit, and a tenth is taken.
    with pytest.raises(ZeroDivisionError):
        SpectralTrainer(model(), CONFIG).train(loader(), None, 5)
    assert [config.optim.warmup_steps for config in given] == [2, 2, 3]


@pytest.mark.parametrize("form", FORMS)
def test_windows_are_cut_as_the_configuration_says(form, monkeypatch):
    checked = []
    monkeypatch.setattr(EnhancedTextDataset, "_validate", lambda self: checked.append(self))
    texts, many = ["a line of text, " * 40], Bytes()
    made = [FORMS[form]("data", {"batch_size": 3, "seq_length": 10, "validate_sequences": on}) for on in (True, False)]
    loaders = [SpectralTrainer(model(), config).loader(texts, many) for config in made]
    assert checked == [loaders[0].dataset]
    assert next(iter(loaders[0]))[0].shape == (3, 10)
    assert loaders[0].dataset.stride == 10
    usual = SpectralTrainer(model(), FORMS[form]("data", {})).loader(texts, many, shuffle=True)
    assert next(iter(usual))[0].shape == (2, 256)
    assert isinstance(usual.sampler, RandomSampler)


def test_the_history_is_that_of_the_model_that_comes_out(tmp_path):
    made, history = trained(tmp_path)
    assert [len(column) for column in history.values()] == [3] * 6
    made.eval()
    nats = count = right = 0
    for x, y in loader(5, False):
        scores = made(x)["logits"]
        nats += F.cross_entropy(scores.flatten(0, 1), y.flatten(), reduction="sum").item()
        right += (scores.argmax(-1) == y).sum().item()
        count += y.numel()
    assert history["val_loss"][-1] == pytest.approx(nats / count, rel=1e-5)
    assert history["val_accuracy"][-1] == pytest.approx(right / count)
    assert history["val_perplexity"][-1] == pytest.approx(math.exp(nats / count), rel=1e-5)
    assert history["train_loss"][0] > history["train_loss"][-1]
    stats = json.loads((tmp_path / "training_stats.json").read_text())
    assert stats["history"] == history
    assert (stats["total_batches"], stats["total_errors"], stats["optimizer_betas"]) == (18, 0, [0.9, 0.95])


def test_the_target_ends_the_run_and_is_that_of_the_validation(tmp_path):
    _, history = trained(tmp_path, epochs=200, target_perplexity=20.0)
    reached = [value <= 20 for value in history["val_perplexity"]]
    assert reached == [False] * (len(reached) - 1) + [True]
    stats = json.loads((tmp_path / "training_stats.json").read_text())
    assert (stats["target_reached"], stats["target_epoch"]) == (True, len(reached))


def test_without_validation_nothing_is_invented(tmp_path):
    history = SpectralTrainer(model(), CONFIG).train(loader(), None, 1, tmp_path)
    assert math.isnan(history["val_loss"][0])
    text = (tmp_path / "training_stats.json").read_text()
    assert json.loads(text)["history"]["val_loss"] == [None]
    assert "NaN" not in text
    with pytest.raises(ValueError, match="target_perplexity=5"):
        SpectralTrainer(model(), CONFIG).train(loader(), None, 1, target_perplexity=5.0)


@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_programming_error_ends_the_run_and_debug_mode_keeps_its_batch(tmp_path, monkeypatch, debug):
    monkeypatch.setenv("UNDULA_DEBUG", debug)
    monkeypatch.delenv("SPECTRALLLM_DISABLE_DEBUG", raising=False)
    with pytest.raises(TypeError, match="a fault in the program"):
        trained(tmp_path, made=model(fail_at=3))
    kept = tmp_path / "debug" / "step-2"
    assert kept.exists() is (debug == "1")
    if debug == "1":
        assert load_file(kept / "batch.safetensors")["input_ids"].shape == (4, 16)
        assert "a fault in the program" in json.loads((kept / "what.json").read_text())["what"]


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    made = model()
    made.head.weight.data[0, 0] = math.nan
    with pytest.raises(ValueError, match="the loss is nan after 0 whole steps"):
        trained(tmp_path, made=made)


def test_a_stopped_run_resumes_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "undula.training.flags.FlagFolder.looked", property(lambda self: -1e9, lambda self, value: None), raising=False
    )
    whole, history = trained(tmp_path / "whole", epochs=4)
    part = model()
    trainer = SpectralTrainer(part, CONFIG)

    def stop(module, args):
        # In the third epoch: a flag for this process.
        if module.calls == 18:
            folder = tmp_path / "saved_models"
            folder.mkdir(exist_ok=True)
            content = {"pid_to_stop": os.getpid(), "timestamp": "now", "command": "save_and_stop"}
            (folder / "save_and_stop_1.flag").write_text(json.dumps(content))

    hook = part.register_forward_pre_hook(stop)
    trainer_options = {"num_epochs": 4, "output_dir": tmp_path / "part", "warmup_steps": 2}
    first = trainer.train(loader(), loader(5, False), **trainer_options)
    hook.remove()
    assert len(first["val_loss"]) < 4
    again = model()
    resumed = SpectralTrainer(again, CONFIG).train(loader(), loader(5, False), **trainer_options, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    assert resumed["val_loss"][-1] == history["val_loss"][-1]
    done = json.loads((tmp_path / "saved_models" / "save_and_stop_1.flag.completed").read_text())
    saved = load_tree(Path(done["model_path"]))["model_state_dict"]
    assert set(saved) == set(part.state_dict())
    with pytest.raises(ValueError, match="holds a run already"):
        SpectralTrainer(model(), CONFIG).train(loader(), None, 1, tmp_path / "part")


def test_a_checkpoint_gives_back_what_was_saved(tmp_path):
    made, other = model(), Pairs()
    SpectralTrainer(made, CONFIG).save_checkpoint(tmp_path / "x.safetensors", 3, {"val_loss": 2.5})
    assert SpectralTrainer(other, CONFIG).load_checkpoint(tmp_path / "x.safetensors") == (3, {"val_loss": 2.5})
    assert torch.equal(made.table.weight, other.table.weight)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="config has no learning_rate"):
        SpectralTrainer(model(), {})
    with pytest.raises(ValueError, match="num_epochs=0"):
        SpectralTrainer(model(), CONFIG).train(loader(), None, 0)
    assert SpectralTrainer(model(), {"training": {"learning_rate": 0.5}}).learning_rate == 0.5
