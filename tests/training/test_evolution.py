"""Evolution in training: on windows of its own, in evaluation mode, and a resumed run goes on bit for bit."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tests.trained import without_time
from tests.training.tiny import tiny_config, tiny_trainer, write_text
from undula.data.build import prepare
from undula.models.evolvable import evolvable
from undula.nn.wavelet_basis import WaveletBasis, angle_rows
from undula.optim import evolution as optim_evolution
from undula.optim.evolution import HRFEvoController
from undula.training.config import EvolutionConfig
from undula.training.evolution import ModelBasis, evolve_model, window_losses
from undula.training.records import read_lines

SIZE = {"evolution_population": 8, "evolution_generations": 6}
TRUTH = torch.tensor([0.9, 0.1, -0.4])


class Filters(nn.Module):
    """Two bases; each token is the likelier to repeat the nearer the filters are to wanted ones. Dropout is on."""

    def __init__(self):
        super().__init__()
        rows = angle_rows(("db4",))
        self.first, self.second = WaveletBasis(rows, 2), WaveletBasis(rows, 1)
        self.drop, self.weight = nn.Dropout(0.5), nn.Parameter(torch.ones(5))
        self.seen = []

    def forward(self, ids):
        self.seen.append((ids.clone(), self.training))
        wanted = WaveletBasis([TRUTH.tolist()], 1)(ids.device)
        miss = sum((part(ids.device) - wanted).square().sum() for part in (self.first, self.second)).float()
        return (4 - miss) * self.drop(nn.functional.one_hot(ids, 5) * self.weight)


def rows(seed, number=12, length=6):
    ids = torch.randint(5, (number, 1), generator=torch.Generator().manual_seed(seed)).expand(number, length)
    return [(part, part) for part in ids.split(5)]


def evolving(folder, **more):
    config = tiny_config(write_text(folder), mixers=("stochastic_wavelet",), accumulation=1, **more)
    plan = EvolutionConfig(every=5, population=3, generations=2, windows=8)
    return dataclasses.replace(config, model=evolvable(config.model), evolution=plan)


def test_the_winner_is_applied_to_all_layers_and_nothing_else_changes():
    """The winner was never applied, and candidates were measured with dropout on the batch in training."""
    model = Filters().train()
    model.drop.eval()  # a mode of its own, that has to stay
    optimizer = torch.optim.AdamW(model.parameters())
    nn.functional.cross_entropy(model(rows(0)[0][0]).flatten(0, 1), rows(0)[0][1].flatten()).backward()
    optimizer.step()
    known = [{k: v.clone() for k, v in state.items()} for state in optimizer.state.values()]
    weight, random, before = model.weight.clone(), torch.get_rng_state(), window_losses(model, rows(2))
    model.seen.clear()
    outcome = evolve_model(model, HRFEvoController(SIZE, ModelBasis(model).read()), rows(1), rows(2))
    assert outcome.applied
    assert torch.equal(model.first.angles, model.second.angles)
    assert torch.equal(model.first.angles, torch.from_numpy(outcome.basis.angles).float())
    after = window_losses(model, rows(2))
    assert (before - after).mean() == pytest.approx(outcome.gain, rel=1e-4)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(model.weight, weight)
    assert (model.training, model.drop.training, model.first.training) == (True, False, True)
    for old, new in zip(known, optimizer.state.values(), strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert not any(training for _, training in model.seen)


def test_all_candidates_see_the_same_tokens():
    model = Filters()
    controller = HRFEvoController(SIZE, ModelBasis(model).read())
    evolve_model(model, controller, rows(1), rows(2))
    batches = [ids for ids, _ in model.seen]
    count = controller.candidates + 1 + 2  # the incumbent first; it and the best again, on what confirms
    assert len(batches) == 3 * count
    for number, ids in enumerate(batches):
        wanted = rows(1 if number < 3 * (count - 2) else 2)[number % 3][0]
        assert torch.equal(ids, wanted)


def test_the_incumbent_stays_to_the_last_bit_when_nothing_is_better(monkeypatch):
    monkeypatch.setattr(optim_evolution, "STANDARD_ERRORS", 1e9)
    model = Filters()
    model.first.angles[0, 0] = model.second.angles[0, 0] = 0.123456789
    before = {name: value.clone() for name, value in model.state_dict().items()}
    controller = HRFEvoController(SIZE, ModelBasis(model).read())

    def noisy(batches, seed):
        return [(x, y.roll(seed, 0)) for x, y in batches]

    outcome = evolve_model(model, controller, rows(1), noisy(rows(2), 1))
    assert not outcome.applied
    assert controller.best.fitness > controller.incumbent.fitness
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_fault_of_the_model_goes_on_and_leaves_the_incumbent():
    model, calls = Filters(), []

    def broken(module, args):
        calls.append(args)
        if len(calls) == 10:
            raise RuntimeError("broken model")

    before = model.first.angles.clone()
    model.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="broken model"):
        evolve_model(model, HRFEvoController(SIZE, ModelBasis(model).read()), rows(1), rows(2))
    assert torch.equal(model.first.angles, before)
    assert torch.equal(model.second.angles, before)


@pytest.mark.parametrize("errors", [-1e9, 1e9], ids=["applied", "kept"])
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path, monkeypatch, errors):
    monkeypatch.setattr(optim_evolution, "STANDARD_ERRORS", errors)
    config = evolving(tmp_path, keep_checkpoints=9)
    trainer = tiny_trainer(config, tmp_path / "run")
    first = ModelBasis(trainer.model).read()
    trainer.train()
    whole = trainer.model.state_dict()
    assert ModelBasis(trainer.model).read().same_as(first) == (errors > 0)
    lines = read_lines(tmp_path / "run" / "metrics.jsonl")
    told = [line for line in lines if "evolution_step" in line]
    assert [(line["step"], line["evolution_step"]) for line in told] == [(6, 5), (10, 10), (16, 15), (20, 20)]
    assert {line["evolution_applied"] for line in told} <= {0.0, float(errors < 0)}
    assert any(line["evolution_error"] > 0 for line in told)
    for start in (6, 12):
        resumed = tiny_trainer(config, tmp_path / f"again-{start}")
        resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoints" / f"step-{start}"))
        assert all(torch.equal(value, whole[name]) for name, value in resumed.model.state_dict().items())
        later = [line for line in lines if line["step"] > start]
        again = read_lines(tmp_path / f"again-{start}" / "metrics.jsonl")
        assert [without_time(line) for line in again] == [without_time(line) for line in later]


def test_an_evolution_that_keeps_the_incumbent_does_not_disturb_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(optim_evolution, "STANDARD_ERRORS", 1e9)
    config = evolving(tmp_path)
    plans = [config.evolution, dataclasses.replace(config.evolution, every=1000)]
    states = []
    for number, plan in enumerate(plans):
        torch.manual_seed(0)
        trainer = tiny_trainer(dataclasses.replace(config, evolution=plan), tmp_path / f"run{number}")
        trainer.train()
        states.append(trainer.model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_what_chooses_is_neither_trained_on_nor_scored(tmp_path):
    config = evolving(tmp_path)
    prepared = prepare(config.data, tmp_path / "cache")
    trainer = tiny_trainer(config, tmp_path / "run")
    stream, size = prepared.train, config.data.block_size
    windows = trainer.train_dataset
    last = max(windows.start(i) + size + 1 for i in range(len(windows)))
    (callback,) = (c for c in trainer.task.callbacks if hasattr(c, "choose"))
    own = np.concatenate([b["input_ids"].numpy() for b in (*callback.choose, *callback.confirm)])
    assert own.shape == (16, size)
    assert last <= len(stream) - 16 * size - 1
    end = stream.tokens[len(stream) - 16 * size - 1 : -1].reshape(16, size)
    assert np.array_equal(np.concatenate([end[::2], end[1::2]]), own)


def test_a_model_without_wavelets_is_refused_before_the_first_step(tmp_path):
    config = dataclasses.replace(tiny_config(write_text(tmp_path)), evolution=EvolutionConfig(every=5, windows=8))
    with pytest.raises(ValueError, match="the model has no wavelets that could evolve"):
        tiny_trainer(config, tmp_path / "run").train()
    short = dataclasses.replace(config, evolution=EvolutionConfig(every=5, windows=4000))
    with pytest.raises(ValueError, match="8000 windows of block_size=16 need 128001; give more text, or fewer"):
        tiny_trainer(short, tmp_path / "short")
    model = Filters()
    model.second.angles += 0.1
    with pytest.raises(ValueError, match="2 bases with different angles"):
        ModelBasis(model)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"every": -1}, r"evolution\.every=-1"),
        ({"population": 1}, r"evolution\.population=1; wanted at least 2"),
        ({"generations": 0}, r"evolution\.generations=0"),
        ({"windows": 7}, r"evolution\.windows=7; wanted at least 8"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(ValueError, match=message):
        EvolutionConfig(**values)
