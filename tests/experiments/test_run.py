import dataclasses
import json
import random
import shutil

import numpy as np
import pytest
import torch

from tests.trained import timeless
from tests.training.tiny import tiny_config, write_text
from undula.audit.run import audit_language_model
from undula.data.build import prepare
from undula.experiments import run
from undula.experiments.run import evaluate_run, load_run, read_config, read_metrics, train_run
from undula.hf.modeling import UndulaForCausalLM
from undula.models.config import BackboneConfig, ModelConfig, PacketConfig
from undula.optim.config import OptimConfig
from undula.training import trainer
from undula.training.manifest import newest_whole
from undula.training.state import load_tree
from undula.validation.evaluate import evaluate


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A text, its configuration, what came of the run, and the cache."""
    folder = tmp_path_factory.mktemp("run")
    config = tiny_config(write_text(folder))
    return config, train_run(config, folder / "run", cache_dir=folder / "cache"), folder / "cache"


def test_a_run_folder_holds_the_resolved_configuration(trained):
    config, result, _ = trained
    assert read_config(result.folder) == result.config
    assert result.config.model.vocab_size != config.model.vocab_size
    model = dataclasses.replace(config.model, vocab_size=result.config.model.vocab_size)
    assert dataclasses.replace(config, model=model) == result.config
    assert (result.folder / "LATEST").read_text() == "step-24\n"
    assert result.checkpoint == newest_whole(result.folder).path
    assert {p.name for p in result.folder.iterdir()} == {"config.json", "metrics.jsonl", "checkpoints", "LATEST"}


def test_a_loaded_run_is_the_trained_model(trained):
    _, result, cache = trained
    loaded = load_run(result.folder)
    assert not loaded.model.training
    assert sum(p.numel() for p in loaded.model.parameters()) == result.parameters
    assert loaded.tokenizer.decode(loaded.tokenizer("wave of phase")["input_ids"]) == "wave of phase"
    assert evaluate_run(result.folder, cache_dir=cache) == result.validation
    scores = [line for line in read_metrics(result.folder) if "validation_loss" in line]
    assert scores[-1]["validation_loss"] == result.validation.loss
    ids = loaded.tokenizer("the wave", return_tensors="pt")["input_ids"]
    assert loaded.model.generate(ids, max_new_tokens=5, do_sample=False).shape == (1, len("the wave") + 5)


def annealed_run(folder, annealing_steps):
    backbone = BackboneConfig(d_model=16, num_layers=1, num_heads=2, d_ff=24)
    packets = PacketConfig(num_waves=2, num_harmonics=1, annealed=True)
    model = ModelConfig(family="wave_gpt", backbone=backbone, packets=packets)
    config = tiny_config(write_text(folder), model=model, annealing_steps=annealing_steps)
    return train_run(config, folder / "run", cache_dir=folder / "cache")


def test_a_table_that_was_faded_out_is_not_loaded(tmp_path):
    result = annealed_run(tmp_path, annealing_steps=10)
    model = load_run(result.folder).model
    table = model.config.vocab_size * 16
    assert sum(p.numel() for p in model.parameters()) == result.parameters - table
    assert evaluate_run(result.folder, cache_dir=tmp_path / "cache") == result.validation
    (aliveness,) = audit_language_model(model, audits=("aliveness",))
    assert aliveness.passed
    model.save_pretrained(tmp_path / "small")
    ids = torch.arange(5)[None]
    assert torch.equal(UndulaForCausalLM.from_pretrained(tmp_path / "small")(ids).logits, model(ids).logits)


def test_a_table_that_is_still_heard_stays(tmp_path):
    result = annealed_run(tmp_path, annealing_steps=100)
    model = load_run(result.folder).model
    assert sum(p.numel() for p in model.parameters()) == result.parameters
    assert model.config.model_config.packets.annealed


def test_masses_follow_the_counts_of_the_training_text(tmp_path):
    backbone = BackboneConfig(d_model=16, num_layers=1, num_heads=2, d_ff=24)
    model = ModelConfig(family="wave_gpt", backbone=backbone, packets=PacketConfig(num_waves=2, num_harmonics=1))
    config = tiny_config(write_text(tmp_path), model=model, steps=1)
    result = train_run(config, tmp_path / "run", cache_dir=tmp_path / "cache")
    counts = prepare(config.data, tmp_path / "cache").train.counts()
    masses = load_run(result.folder).model.model.gpt.embedding.masses
    assert torch.equal(counts[masses.argsort(descending=True)], counts.sort(descending=True).values)
    assert masses.argmax() == counts.argmax() != 0


def test_another_text_is_scored_whole(trained, tmp_path):
    _, result, _ = trained
    other = write_text(tmp_path, seed=1, words=500)
    score = evaluate_run(result.folder, str(other))
    assert score.num_tokens == score.num_bytes == len(other.read_text()) - 1
    assert score.loss == pytest.approx(result.validation.loss, rel=0.05)


def test_a_finished_run_resumes_to_the_same_result_and_writes_nothing_new(trained):
    config, result, cache = trained
    before = (result.folder / "metrics.jsonl").read_text()
    assert train_run(config, result.folder, resume=True, cache_dir=cache) == result
    assert (result.folder / "metrics.jsonl").read_text() == before


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_message_and_the_run_is_the_same(trained, tmp_path, caplog):
    config, result, cache = trained
    out = tmp_path / "run"
    shutil.copytree(result.folder, out)
    weights = out / "checkpoints" / "step-24" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-10] ^= 1
    weights.write_bytes(bytes(damaged))
    assert load_run(out).checkpoint.step == 18
    again = train_run(config, out, resume=True, cache_dir=cache)
    assert "step-24 is damaged (model.safetensors is not what was written); taking" in caplog.text
    same = {p.name: (again.checkpoint / p.name).read_bytes() == p.read_bytes() for p in result.checkpoint.iterdir()}
    # The type checker that watches the tests draws from Python's generator, whose state is in these two files.
    assert {name for name, equal in same.items() if not equal} <= {"rng-0.safetensors", "manifest.json"}
    generators = [load_tree(r.checkpoint / "rng-0.safetensors")["torch"] for r in (again, result)]
    assert torch.equal(*generators)
    assert timeless(out) == timeless(result.folder)


def test_with_no_whole_checkpoint_left_nothing_is_done(trained, tmp_path):
    config, result, cache = trained
    out = tmp_path / "run"
    shutil.copytree(result.folder, out)
    for manifest in out.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    before = (out / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match="step-24 is damaged.*step-18 is damaged.*no whole one is left"):
        train_run(config, out, resume=True, cache_dir=cache)
    with pytest.raises(ValueError, match="no whole one is left"):
        load_run(out)
    assert (out / "metrics.jsonl").read_bytes() == before


def test_a_run_stopped_before_its_first_checkpoint_starts_again(trained, tmp_path, caplog):
    config, result, cache = trained

    def stop(progress):
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(config, tmp_path / "run", progress=stop, cache_dir=cache)
    assert [line["step"] for line in timeless(tmp_path / "run")] == [1, 4]
    train_run(config, tmp_path / "run", resume=True, cache_dir=cache)
    assert "has no checkpoint yet; starting from the first step" in caplog.text
    assert timeless(tmp_path / "run") == timeless(result.folder)


def test_the_result_depends_on_the_seed_alone_and_the_generators_are_left_alone(trained, tmp_path):
    config, result, cache = trained
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    again = train_run(config, tmp_path / "again", cache_dir=cache)
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])
    assert again.validation == result.validation
    other = train_run(dataclasses.replace(config, seed=4), tmp_path / "other", cache_dir=cache)
    assert other.validation != result.validation


def test_a_folder_with_a_run_is_not_overwritten(trained):
    config, result, cache = trained
    before = (result.folder / "config.json").read_bytes()
    with pytest.raises(ValueError, match="holds a run already; resume it, or choose another folder"):
        train_run(config, result.folder, cache_dir=cache)
    assert (result.folder / "config.json").read_bytes() == before


def test_resuming_with_another_configuration_names_what_differs(trained):
    config, result, cache = trained
    changed = dataclasses.replace(config, steps=30, optim=OptimConfig(learning_rate=0.5, warmup_steps=5))
    with pytest.raises(ValueError, match=r"optim.learning_rate: 0.001 -> 0.5, steps: 24 -> 30; start a new run"):
        train_run(changed, result.folder, resume=True, cache_dir=cache)


def test_a_folder_that_is_no_run_is_refused(tmp_path, trained):
    config, _, cache = trained
    for call in (load_run, read_config, read_metrics, evaluate_run):
        with pytest.raises(FileNotFoundError, match="is not the folder of a run: it has no config.json"):
            call(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not the folder of a run"):
        train_run(config, tmp_path, resume=True, cache_dir=cache)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is not JSON"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="holds a list, wanted the keys"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"name": "a", "stepz": 3}))
    with pytest.raises(ValueError, match="did you mean 'steps'"):
        read_config(tmp_path)


def test_a_run_without_a_checkpoint_cannot_be_loaded(trained, tmp_path):
    _, result, _ = trained
    (tmp_path / "config.json").write_bytes((result.folder / "config.json").read_bytes())
    with pytest.raises(FileNotFoundError, match="has no checkpoint yet"):
        load_run(tmp_path)


def test_a_text_that_changed_is_refused_in_resuming_and_scoring(tmp_path):
    text, cache = write_text(tmp_path), tmp_path / "cache"
    config = tiny_config(text, steps=6)
    train_run(config, tmp_path / "run", cache_dir=cache)
    write_text(tmp_path, seed=1)
    with pytest.raises(ValueError, match="are no longer those that .*step-6 was trained on"):
        evaluate_run(tmp_path / "run", cache_dir=cache)
    with pytest.raises(ValueError, match="are no longer those that .*step-6 was trained on"):
        train_run(config, tmp_path / "run", resume=True, cache_dir=cache)


def test_after_a_full_disk_the_run_resumes_to_the_same_result(trained, tmp_path, monkeypatch):
    config, result, cache = trained
    usual = trainer.save_tree

    def full(tree, path):
        if "checkpoint-12" in str(path):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        usual(tree, path)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_tree", full)
        with pytest.raises(OSError, match="checkpoint of step 12 could not be written.*make room there, then resume"):
            train_run(config, tmp_path / "run", cache_dir=cache)
    assert newest_whole(tmp_path / "run").step == 6
    again = train_run(config, tmp_path / "run", resume=True, cache_dir=cache)
    assert again.validation == result.validation


def test_a_run_finds_its_text_from_any_folder(tmp_path, monkeypatch):
    text = write_text(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = train_run(tiny_config(text.name, steps=1), tmp_path / "run", cache_dir=tmp_path / "cache")
    assert result.config.data.source == str(text)
    monkeypatch.chdir("/")
    assert evaluate_run(tmp_path / "run", cache_dir=tmp_path / "cache") == result.validation


def test_a_window_longer_than_the_models_context_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="block_size=16 is longer than model.context_length=8"):
        tiny_config(write_text(tmp_path), model=ModelConfig(context_length=8))


def test_the_model_starts_the_same_whatever_was_drawn_before(trained, tmp_path):
    config, result, cache = trained
    prepared = run.prepare(config.data, cache)
    torch.manual_seed(77)
    torch.rand(5)
    start = train_run(dataclasses.replace(config, steps=1), tmp_path / "a", cache_dir=cache)
    torch.rand(1)
    again = train_run(dataclasses.replace(config, steps=1), tmp_path / "b", cache_dir=cache)
    models = [load_run(r.folder).model for r in (start, again)]
    assert evaluate(models[0], prepared.eval_windows()) == evaluate(models[1], prepared.eval_windows())
    assert result.config.seed == config.seed
