"""Evolution of a trained run: a new run folder or none, exact resumption, and a run that can be trained on."""

import json
import math
import shutil

import pytest
import torch

from tests.trained import train
from undula.experiments import evolve
from undula.experiments.evolve import EvolvePlan, evolve_run
from undula.experiments.run import evaluate_run, load_run, read_config, train_run
from undula.hf.basis import basis_of
from undula.optim import evolution as optim_evolution
from undula.training.manifest import newest_whole
from undula.training.state import load_tree

PLAN = EvolvePlan(generations=2, population=3, windows=8, batch_size=16)


@pytest.fixture(scope="module")
def wavelets(text, tmp_path_factory):
    """A run with wavelets."""
    folder = tmp_path_factory.mktemp("wavelets") / "run"
    widths = ("model.backbone.d_model=16", "model.backbone.d_ff=16", "model.signal.harmonics=4", "data.tokenizer=char")
    mixers = ("model.backbone.mixers=wavelet_attention,stochastic_wavelet", "model.backbone.num_layers=2")
    tree = "{wavelet_attention: {levels: 2}, stochastic_wavelet: {levels: 2}}"
    options = f"model.backbone.mixer_options={tree}"
    assert train(folder, text, *widths, *mixers, options, recipe="spectral_llm") == 0
    return folder


@pytest.fixture
def always(monkeypatch):
    """Whatever is best is applied."""
    monkeypatch.setattr(optim_evolution, "STANDARD_ERRORS", -1e9)


def test_a_winner_becomes_a_run_of_its_own(wavelets, tmp_path, always):
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in wavelets.rglob("*") if path.is_file()}
    found = evolve_run(wavelets, out, PLAN)
    assert found.outcome.applied
    assert {path: path.read_bytes() for path in wavelets.rglob("*") if path.is_file()} == before
    assert found.checkpoint == newest_whole(out).path
    run = load_run(out)
    assert basis_of(run.model).angles == pytest.approx(found.outcome.basis.angles, abs=1e-6)
    assert read_config(out).model == run.model.config.model_config
    assert evaluate_run(out).loss != evaluate_run(wavelets).loss
    story = json.loads((out / "evolution.json").read_text())
    assert (story["verdict"], story["applied"]) == (found.outcome.verdict, True)
    assert [len(one["fitness"]) for one in story["generations"]] == [3, 3]
    assert story["rest"]["before"] == found.before
    assert story["rest"]["after"] == found.after
    assert (out / "evolution.png").read_bytes()[:4] == b"\x89PNG"
    assert not (out / "checkpoints" / ".building").exists()


def test_the_text_that_tells_is_none_that_chose(wavelets, tmp_path, always):
    """A number from the windows that chose is no measurement."""
    found = evolve_run(wavelets, tmp_path / "out", PLAN)
    run, windows = load_run(wavelets), []
    whole = evolve.text_windows(evolve.prepare(run.config.data), None)
    for i in range(16, whole.num_predicted // 16):
        windows.append(whole[i])
    ids, labels = (torch.stack([w[name] for w in windows]) for name in ("input_ids", "shift_labels"))
    for folder, told in ((wavelets, found.before), (tmp_path / "out", found.after)):
        logits = load_run(folder).model(ids).logits.flatten(0, 1)
        assert torch.nn.functional.cross_entropy(logits, labels.flatten()).item() == pytest.approx(told, rel=1e-5)


def test_kept_is_kept(wavelets, tmp_path, monkeypatch):
    monkeypatch.setattr(optim_evolution, "STANDARD_ERRORS", 1e9)
    found = evolve_run(wavelets, tmp_path / "out", PLAN)
    assert found.checkpoint is None
    assert math.isnan(found.after)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"evolution.json", "evolution.png", "state.json"}
    assert "kept the incumbent" in json.loads((tmp_path / "out" / "evolution.json").read_text())["verdict"]


def test_an_evolution_that_was_stopped_goes_on_exactly(wavelets, tmp_path, always):
    whole = evolve_run(wavelets, tmp_path / "whole", PLAN)

    def stop(stats):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evolve_run(wavelets, tmp_path / "out", PLAN, watch=stop)
    seen = []
    again = evolve_run(wavelets, tmp_path / "out", PLAN, watch=seen.append)
    assert [stats["generation"] for stats in seen] == [2]
    for name in ("evolution.json", "state.json"):
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert again.outcome.verdict == whole.outcome.verdict
    weights = [(tmp_path / f / "checkpoints" / "step-4" / "model.safetensors").read_bytes() for f in ("out", "whole")]
    assert weights[0] == weights[1]
    other = EvolvePlan(generations=2, population=3, windows=8, seed=1)
    with pytest.raises(ValueError, match=r"the state is that of another evolution: seed=0; wanted seed=1"):
        evolve_run(wavelets, tmp_path / "out", other)


def test_training_goes_on_from_the_winner_with_what_the_optimizer_knows(wavelets, tmp_path, always):
    half = tmp_path / "half"
    shutil.copytree(wavelets, half)
    shutil.rmtree(half / "checkpoints" / "step-4")
    found = evolve_run(half, tmp_path / "out", PLAN)
    assert found.optimizer
    old, new = (load_tree(f / "checkpoints" / "step-2" / "optimizer.safetensors") for f in (half, tmp_path / "out"))
    assert old["state"].keys() == new["state"].keys()
    assert all(torch.equal(old["state"][k][m], new["state"][k][m]) for k in old["state"] for m in old["state"][k])
    turned = basis_of(load_run(tmp_path / "out").model)
    result = train_run(read_config(tmp_path / "out"), tmp_path / "out", resume=True)
    assert result.checkpoint.name == "step-4"
    assert basis_of(load_run(tmp_path / "out").model).same_as(turned)
    with pytest.raises(ValueError, match="was trained further since it was evolved"):
        evolve_run(half, tmp_path / "out", PLAN)


def test_a_smaller_tree_leaves_the_optimizer_out(wavelets, tmp_path, always, monkeypatch):
    def shallow(self):
        first = mutants(self)
        first[0].fitness = None
        return [first[0], *[type(b)(b.type_name, {**b.params, "levels": 1, "sparsity": 0.5}) for b in first[1:]]]

    mutants = optim_evolution.HRFEvoController._first
    monkeypatch.setattr(optim_evolution.HRFEvoController, "_first", shallow)
    monkeypatch.setattr(evolve, "window_losses", lambda model, batches: torch.ones(8).numpy() * model.num_parameters())
    plan = EvolvePlan(generations=1, population=3, windows=8, structure=True)
    found = evolve_run(wavelets, tmp_path / "out", plan)
    assert not found.optimizer
    assert not (found.checkpoint / "optimizer.safetensors").exists()
    options = read_config(tmp_path / "out").model.backbone.mixer_options
    assert (options["wavelet_attention"]["levels"], options["wavelet_attention"]["window"]) == (1, 8)
    assert load_run(tmp_path / "out").model.num_parameters() < load_run(wavelets).model.num_parameters()


def test_mistakes_are_named(wavelets, plain, tmp_path):
    with pytest.raises(ValueError, match=r"windows=900 needs twice as many: at most \d+ here"):
        evolve_run(wavelets, tmp_path / "out", EvolvePlan(windows=900))
    with pytest.raises(ValueError, match="have no wavelets that could evolve"):
        evolve_run(plain, tmp_path / "out", PLAN)
    with pytest.raises(ValueError, match="holds a run already"):
        evolve_run(wavelets, plain, PLAN)
    with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
        evolve_run(tmp_path, tmp_path / "out", PLAN)
    assert not (tmp_path / "out").exists()
    for name, value in (("generations", 0), ("population", 1), ("windows", 7), ("batch_size", 0), ("seed", -1)):
        with pytest.raises(ValueError, match=f"{name}={value}"):
            EvolvePlan(**{name: value})
