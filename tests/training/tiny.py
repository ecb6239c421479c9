"""Runs that take a second: a text, a configuration, a trainer."""

import dataclasses
import random

from undula.data.build import prepare
from undula.data.config import DataConfig
from undula.hf.configuration import UndulaConfig
from undula.hf.modeling import UndulaForCausalLM
from undula.models.config import BackboneConfig, ModelConfig
from undula.optim.config import OptimConfig
from undula.training.config import TrainConfig
from undula.training.text import TextTask
from undula.training.trainer import RunTrainer

WORDS = ("wave", "phase", "filter", "sum", "of", "the", "a", "is", "in", "and")


def write_text(folder, seed=0, words=2500):
    """Return the path of a text of few words in random order."""
    draw = random.Random(seed)
    path = folder / "text.txt"
    lines = (" ".join(draw.choices(WORDS, k=10)) + ".\n" for _ in range(words // 10))
    path.write_text("".join(lines))
    return path


def tiny_config(text, *, mixers=("attention", "fft_conv"), dropout=0.1, **more):
    """Return a run of 24 small steps, a checkpoint after every 6; dropout and accumulation on."""
    backbone = BackboneConfig(d_model=16, num_layers=2, num_heads=2, d_ff=24, dropout=dropout, mixers=mixers)
    defaults = {
        "model": ModelConfig(backbone=backbone),
        "data": DataConfig(source=str(text), tokenizer="char", block_size=16),
        "optim": OptimConfig(warmup_steps=5),
        "steps": 24,
        "batch_size": 4,
        "accumulation": 2,
        "seed": 3,
        "log_every": 4,
        "eval_every": 10,
        "save_every": 6,
        "device": "cpu",
    }
    return TrainConfig(name="tiny", **{**defaults, **more})


def tiny_trainer(config, folder, listener=None):
    """Return a trainer with a new model; `folder` is the run's."""
    prepared = prepare(config.data, folder.parent / "cache")
    model = dataclasses.replace(config.model, vocab_size=prepared.vocab_size)
    folder.mkdir(exist_ok=True)
    special = {"pad_token_id": prepared.tokenizer.pad_token_id, "eos_token_id": prepared.tokenizer.eos_token_id}
    model = UndulaForCausalLM(UndulaConfig(model=model, **special))
    return RunTrainer(model, config, TextTask(model, config, prepared), folder, listener)
