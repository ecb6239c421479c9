import dataclasses
import json
import math
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.training.tiny import tiny_config, tiny_trainer, write_text
from undula.optim.build import build_optimizer, learning_rate
from undula.optim.config import OptimConfig
from undula.training import trainer as trainer_module
from undula.training.manifest import newest_whole, step_folders
from undula.training.records import read_lines
from undula.training.trainer import NonFiniteError, RunTrainer
from undula.validation.evaluate import evaluate


@pytest.fixture
def text(tmp_path):
    return write_text(tmp_path)


def parameters(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def batches_of(config, folder, monkeypatch):
    """Return the tokens of every forward pass of a run."""
    seen, usual = [], RunTrainer.compute_loss

    def recorded(self, model, inputs, *args, **kwargs):
        seen.append(inputs["input_ids"].clone())
        return usual(self, model, inputs, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(RunTrainer, "compute_loss", recorded)
        tiny_trainer(config, folder).train()
    return torch.stack(seen)


def test_training_does_what_the_plain_loop_does(text, tmp_path):
    config = tiny_config(text, dropout=0.0)
    trainer = tiny_trainer(config, tmp_path / "run")
    model = type(trainer.model)(trainer.model.config)
    model.load_state_dict(trainer.model.state_dict())
    windows, optimizer = trainer.train_dataset, build_optimizer(model, config.optim)
    trainer.train()

    losses = []
    for step in range(config.steps):
        optimizer.zero_grad()
        items = [windows[i] for i in range(step * 8, step * 8 + 8)]
        inputs, labels = (torch.stack([item[name] for item in items]) for name in ("input_ids", "shift_labels"))
        loss = torch.nn.functional.cross_entropy(model(input_ids=inputs).logits.flatten(0, 1), labels.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.steps, config.optim)
        optimizer.step()
        losses.append(loss.item())
    for name, p in model.named_parameters():
        torch.testing.assert_close(trainer.model.get_parameter(name), p, rtol=1e-4, atol=1e-5)
    lines = [line for line in read_lines(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert [line["step"] for line in lines] == [1, 4, 6, 8, 10, 12, 16, 18, 20, 24]
    assert lines[0]["loss"] == pytest.approx(losses[0], rel=1e-5)
    assert lines[1]["loss"] == pytest.approx(sum(losses[1:4]) / 3, rel=1e-5)
    assert lines[-1]["learning_rate"] == pytest.approx(learning_rate(23, 24, config.optim))


def test_the_gradient_is_clipped_to_the_configured_length(text, tmp_path):
    short = OptimConfig(grad_clip=1e-6, warmup_steps=0, weight_decay=0.0)
    trainer = tiny_trainer(tiny_config(text, optim=short, steps=1), tmp_path / "run")
    trainer.train()
    averages = [state["exp_avg"] for state in trainer.optimizer.state.values()]
    norm = torch.stack([a.square().sum() for a in averages]).sum().sqrt()
    assert float(norm) == pytest.approx((1 - 0.9) * 1e-6, rel=1e-3)


def test_training_learns(text, tmp_path):
    fast = OptimConfig(learning_rate=1e-2, min_learning_rate=1e-3, warmup_steps=5)
    config = tiny_config(text, optim=fast, steps=60, save_every=60, eval_every=60, accumulation=1)
    trainer = tiny_trainer(config, tmp_path / "run")
    before = trainer.score().loss
    trainer.train()
    assert before > 2.9
    assert trainer.validation.loss < 1.9


def test_equal_seeds_give_different_models_the_same_batches(text, tmp_path, monkeypatch):
    config = tiny_config(text, mixers=("attention",), steps=6)
    attention = batches_of(config, tmp_path / "a", monkeypatch)
    waves = batches_of(tiny_config(text, mixers=("fft_conv",), dropout=0.3, steps=6), tmp_path / "b", monkeypatch)
    assert attention.shape == (6 * 2, 4, 16)
    assert torch.equal(attention, waves)
    other = batches_of(dataclasses.replace(config, seed=4), tmp_path / "c", monkeypatch)
    assert not torch.equal(attention, other)


def test_accumulated_batches_make_the_step_of_one_large_batch(text, tmp_path):
    large = tiny_trainer(tiny_config(text, dropout=0.0, batch_size=8, accumulation=1, steps=8), tmp_path / "a")
    small = tiny_trainer(tiny_config(text, dropout=0.0, batch_size=2, accumulation=4, steps=8), tmp_path / "b")
    small.model.load_state_dict(large.model.state_dict())
    large.train()
    small.train()
    for name, value in parameters(large).items():
        torch.testing.assert_close(small.model.get_parameter(name), value, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_is_a_model_folder_without_pickles_and_old_ones_go(text, tmp_path):
    trainer = tiny_trainer(tiny_config(text), tmp_path / "run")
    trainer.train()
    checkpoints = tmp_path / "run" / "checkpoints"
    assert [p.name for p in step_folders(checkpoints)] == ["step-18", "step-24"]
    names = {p.name for p in (checkpoints / "step-24").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "manifest.json"} <= names
    assert {name.rpartition(".")[2] for name in names} == {"json", "safetensors"}
    saved = load_file(checkpoints / "step-24" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in parameters(trainer).items())


def test_the_score_in_the_metrics_is_the_evaluators(text, tmp_path):
    trainer = tiny_trainer(tiny_config(text), tmp_path / "run")
    trainer.train()
    score = evaluate(trainer.model, trainer.held_out, batch_size=7)
    lines = [line for line in read_lines(tmp_path / "run" / "metrics.jsonl") if "validation_loss" in line]
    assert [line["step"] for line in lines] == [10, 20, 24]
    assert lines[-1]["validation_loss"] == pytest.approx(score.loss, rel=1e-6)
    assert lines[-1]["validation_bits_per_byte"] == pytest.approx(score.bits_per_byte, rel=1e-6)
    assert score.loss == pytest.approx(trainer.validation.loss, rel=1e-6)


def test_scoring_and_saving_change_no_parameter(text, tmp_path):
    often = tiny_trainer(tiny_config(text, steps=6, eval_every=1, save_every=1, log_every=1), tmp_path / "a")
    seldom = tiny_trainer(tiny_config(text, steps=6, eval_every=6), tmp_path / "b")
    seldom.model.load_state_dict(often.model.state_dict())
    # Dropout draws at random: had a score used up a random number, the rest of the run would differ.
    for trainer in (often, seldom):
        torch.manual_seed(0)
        trainer.train()
    for name, value in parameters(often).items():
        assert torch.equal(seldom.model.get_parameter(name), value), name


def test_the_listener_hears_of_start_logs_and_scores(text, tmp_path):
    heard = []
    trainer = tiny_trainer(tiny_config(text), tmp_path / "run", heard.append)
    trainer.train()
    assert [p.step for p in heard] == [0, 1, 4, 6, 8, 10, 10, 12, 16, 18, 20, 20, 24, 24]
    assert math.isnan(heard[0].loss)
    assert math.isnan(heard[0].validation.loss)
    assert all(p.steps == 24 and p.where == "cpu, float32" for p in heard)
    assert all(p.seconds_left >= 0 and p.tokens_per_second > 0 for p in heard[1:])
    assert heard[-1].validation == trainer.validation
    assert heard[-1].seconds_left == 0
    # A character of this text is a byte, but for the borders between its documents.
    assert heard[-1].bits_per_byte == pytest.approx(heard[-1].loss / math.log(2), rel=1e-3)


def test_nothing_is_printed(text, tmp_path, capfd):
    tiny_trainer(tiny_config(text), tmp_path / "run").train()
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_a_loss_that_is_no_number_stops_the_run_and_saves_the_batch(text, tmp_path):
    wild = OptimConfig(learning_rate=1e30, warmup_steps=0, grad_clip=0.0)
    trainer = tiny_trainer(tiny_config(text, optim=wild, accumulation=1), tmp_path / "run")
    with pytest.raises(NonFiniteError, match="the loss is .* after 1 whole steps.*lower optim.learning_rate"):
        trainer.train()
    debug = tmp_path / "run" / "debug" / "step-1"
    batch = load_file(debug / "batch.safetensors")
    items = [trainer.train_dataset[i] for i in range(4, 8)]
    assert torch.equal(batch["input_ids"], torch.stack([item["input_ids"] for item in items]))
    assert json.loads((debug / "what.json").read_text())["step"] == 1
    assert newest_whole(tmp_path / "run") is None


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_no_number_stops_the_run_before_its_step(text, tmp_path, clip):
    """The loss was fine: without this the step makes all parameters NaN, and the next pass fails somewhere else."""
    trainer = tiny_trainer(tiny_config(text, optim=OptimConfig(grad_clip=clip)), tmp_path / "run")
    first = next(trainer.model.parameters())
    first.register_hook(lambda gradient: gradient * (math.nan if trainer.state.global_step == 2 else 1))
    with pytest.raises(NonFiniteError, match="the norm of the gradients is nan after 2 whole steps; stopped"):
        trainer.train()
    assert first.isfinite().all()


def test_parameters_that_are_no_numbers_are_never_saved(text, tmp_path):
    # Beyond float32: the first update overflows, although the loss before it was fine.
    wild = OptimConfig(learning_rate=1e39, warmup_steps=0)
    trainer = tiny_trainer(tiny_config(text, optim=wild, save_every=1), tmp_path / "run")
    with pytest.raises(NonFiniteError, match="parameters hold NaN or infinity"):
        trainer.train()
    assert newest_whole(tmp_path / "run") is None


@pytest.mark.parametrize("writer", ["save_tree", "publish", "flush"])
def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(text, tmp_path, monkeypatch, writer):
    trainer, usual = tiny_trainer(tiny_config(text), tmp_path / "run"), getattr(trainer_module, writer)

    def full(*args):
        if trainer.state.global_step == 12:
            raise OSError(28, "No space left on device")
        return usual(*args)

    monkeypatch.setattr(trainer_module, writer, full)
    with pytest.raises(
        OSError, match="checkpoint of step 12 .*: No space left on device; those before it are untouched"
    ):
        trainer.train()
    assert newest_whole(tmp_path / "run").step == 6
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-6"]


def test_bfloat16_is_refused_where_the_hardware_has_none(text, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "_has_bfloat16", lambda kind: False)
    with pytest.raises(ValueError, match="precision='bfloat16', and this cpu has none"):
        tiny_trainer(tiny_config(text, precision="bfloat16"), tmp_path / "run")
    assert tiny_trainer(tiny_config(text), tmp_path / "run").where == "cpu, float32"


def test_bfloat16_runs_in_bfloat16_and_keeps_float32_parameters(text, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "_has_bfloat16", lambda kind: True)
    trainer = tiny_trainer(tiny_config(text, precision="bfloat16"), tmp_path / "run")
    seen = set()
    trainer.model.model.head.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    trainer.train()
    assert trainer.where == "cpu, bfloat16"
    assert torch.bfloat16 in seen
    assert all(p.dtype is torch.float32 for p in trainer.model.parameters())


def test_a_tracker_that_is_not_installed_is_named_with_the_extra_that_brings_it(text, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ImportError, match=r"trackio is not installed; pip install 'undula\[trackers\]'"):
        tiny_trainer(tiny_config(text, trackers=("trackio",)), tmp_path / "run")
