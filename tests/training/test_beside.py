"""What the documented trainer does beside training, as the documented configuration says."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from undula.data.texts import EnhancedTextDataset
from undula.models.spectral_llm import SpectralLLM
from undula.models.spectral_llm_config import Config
from undula.nn.mps import MPSWaveletTransform
from undula.nn.wavelet import EnhancedWaveletTransform
from undula.optim import evolution as optim_evolution
from undula.training import spectral_trainer
from undula.training.evolution import ModelBasis
from undula.training.loader import first_rows
from undula.training.records import read_lines
from undula.training.spectral_trainer import SpectralTrainer

SIZE = {"vocab_size": 128, "embed_dim": 8, "hidden_dim": 8, "num_layers": 1, "num_heads": 2, "harmonic_bases": 2}
ALONE = {"use_fourier_convolution": False, "use_frequency_domain_attention": False, "max_seq_length": 16}
TINY = Config(**SIZE, **ALONE, wavelet_levels=2, warmup_steps=1, batch_size=4, seq_length=16, stride=16)
EVOLVING = dataclasses.replace(
    TINY, enable_evolution=True, evolution_every=3, evolution_population=3, evolution_generations=1
)
TEXT = "the quick brown fox jumps over the lazy dog. " * 8


class Bytes:
    def encode(self, text):
        return list(text.encode())


class Watched:
    """A configuration that remembers what was read of it."""

    def __init__(self, config):
        self.config, self.read = config, set()

    def __getattr__(self, name):
        found = getattr(self.config, name)
        self.read.add(name)
        return found


def model(config):
    torch.manual_seed(0)
    return SpectralLLM(config)


def trained(folder, config, made=None, **options):
    made = made or model(config)
    trainer = SpectralTrainer(made, config)
    train, val = (trainer.loader([TEXT], Bytes(), shuffle=shuffle) for shuffle in (True, False))
    trainer.train(train, val, 2, folder, **options)
    return made, read_lines(folder / "metrics.jsonl")


def test_everything_that_is_not_of_the_model_is_read(tmp_path):
    """Fields were accepted and read by nothing; learning_rate and others had no effect."""
    from tests.models.test_spectral_llm import BESIDE

    watched = Watched(dataclasses.replace(EVOLVING, spectral_gap_analysis=True))
    trained(tmp_path / "run", watched, model(EVOLVING))
    assert watched.read >= BESIDE


def test_the_wavelets_evolve_as_often_as_it_says(tmp_path, monkeypatch):
    """The winner was never applied, and candidates were measured on the batch in training."""
    monkeypatch.setattr(optim_evolution, "STANDARD_ERRORS", -1e9)
    first = ModelBasis(model(EVOLVING)).read()
    made, lines = trained(tmp_path / "run", EVOLVING)
    assert not ModelBasis(made).read().same_as(first)
    assert [line["evolution_step"] for line in lines if "evolution_step" in line] == [6, 12]
    sizes = []

    class Counting(optim_evolution.HRFEvoController):
        def __init__(self, config, *args, **more):
            super().__init__(config, *args, **more)
            sizes.append((self.population_size, self.generations))

    monkeypatch.setattr("undula.training.evolution.HRFEvoController", Counting)
    trained(tmp_path / "again", EVOLVING)
    assert sizes == [(3, 1)] * 4


def test_a_resumed_run_evolves_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(optim_evolution, "STANDARD_ERRORS", -1e9)
    whole, _ = trained(tmp_path / "whole", EVOLVING)
    calls, evolve = [], spectral_trainer.Evolution.on_step_end

    def stopped(self, args, state, control, **kwargs):
        calls.append(state.global_step)
        if state.global_step == 10:
            raise KeyboardInterrupt
        evolve(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(spectral_trainer.Evolution, "on_step_end", stopped)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "part", EVOLVING)
    again, _ = trained(tmp_path / "part", EVOLVING, resume=True)
    assert calls[-1] == 10
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in again.state_dict().items())


def test_the_spectral_gap_is_logged_and_nothing_else_changes(tmp_path):
    plain, bare = trained(tmp_path / "plain", TINY)
    made, lines = trained(tmp_path / "gap", dataclasses.replace(TINY, spectral_gap_analysis=True))
    assert [line["step"] for line in lines if "spectral_gap" in line] == [6, 12]
    assert not any("spectral_gap" in line for line in bare)
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in made.state_dict().items())


def test_transforms_are_those_for_apple_s_gpus_when_asked_for():
    """use_mps was accepted and read by nothing."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.transform = EnhancedWaveletTransform("db2", levels=1)

    made = Block()
    weights = dict(made.named_parameters())
    assert type(SpectralTrainer(made, TINY).model.transform) is EnhancedWaveletTransform
    asked = SpectralTrainer(made, dataclasses.replace(TINY, use_mps=True)).model
    assert isinstance(asked.transform, MPSWaveletTransform)
    assert asked is made
    assert all(parameter is weights[name] for name, parameter in asked.named_parameters())


def test_the_first_rows_of_a_shuffled_loader_are_always_the_same():
    made = DataLoader(EnhancedTextDataset([TEXT], Bytes(), seq_length=16), 5, shuffle=True)
    before = torch.get_rng_state()
    first, again = (first_rows(made, 12, seed=3) for _ in range(2))
    assert first[0].shape == (12, 16)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[0][:, 1:], first[1][:, :-1])
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(first[0], first_rows(made, 12, seed=4)[0])
    assert len(first_rows(made, 1000, seed=3)[0]) == len(made.dataset)


def test_mistakes_are_named(tmp_path):
    for config in (EVOLVING, dataclasses.replace(TINY, spectral_gap_analysis=True)):
        trainer = SpectralTrainer(model(config), config)
        with pytest.raises(ValueError, match="needs windows that are held out; give a val_loader"):
            trainer.train(trainer.loader([TEXT], Bytes()), None, 1, tmp_path / "run")
    trainer = SpectralTrainer(model(EVOLVING), EVOLVING)
    with pytest.raises(ValueError, match="val_loader has 6 windows; enable_evolution needs at least 16"):
        trainer.train(trainer.loader([TEXT], Bytes()), trainer.loader([TEXT[:100]], Bytes()), 1, tmp_path / "run")
    with pytest.raises(ValueError, match="have no wavelets that could evolve|has no wavelets that could evolve"):
        trained(tmp_path / "none", EVOLVING, model(TINY))
    ragged = [(torch.zeros(1, n, dtype=torch.long),) * 2 for n in (3, 4)]
    with pytest.raises(ValueError, match=r"windows of \[3, 4\] tokens; wanted windows of one length"):
        first_rows(DataLoader(ragged, batch_size=None), 2, 0)
    empty = DataLoader(TensorDataset(torch.zeros(0, 4), torch.zeros(0, 4)), 2)
    with pytest.raises(ValueError, match=r"windows of \[\] tokens"):
        first_rows(empty, 2, 0)
