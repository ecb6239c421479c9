"""A run in pieces is the run on whole windows, rounding apart; and it resumes to the last bit."""

import shutil

import pytest
import torch

from tests.training.tiny import tiny_config, tiny_trainer, write_text
from undula.data.config import DataConfig
from undula.experiments.run import evaluate_run, read_metrics, train_run
from undula.losses.config import LossConfig
from undula.models.config import BackboneConfig, ModelConfig, SparsityConfig
from undula.training.records import METRICS, read_lines
from undula.training.state import load_tree

SPARSE = ModelConfig(
    family="wave",
    backbone=BackboneConfig(d_model=24, num_layers=1, num_heads=2, d_ff=24, block="parallel"),
    sparsity=SparsityConfig(k_ratio=0.5, min_k=2),
)


def trained(folder, text, **changes):
    folder.mkdir()
    torch.manual_seed(0)
    trainer = tiny_trainer(tiny_config(text, dropout=0.0, steps=8, **changes), folder / "run")
    widths = []
    trainer.model.model.register_forward_hook(lambda module, args, out: widths.append(args[0].shape[1]))
    trainer.train()
    return trainer, set(widths)


def test_training_in_pieces_is_training(tmp_path):
    text = write_text(tmp_path)
    whole, seen = trained(tmp_path / "whole", text)
    assert seen == {16}
    pieces, seen = trained(tmp_path / "pieces", text, piece=5)
    assert seen == {5, 1}
    for name, p in whole.model.named_parameters():
        torch.testing.assert_close(pieces.model.get_parameter(name), p, rtol=1e-3, atol=2e-5)
    assert pieces.validation.loss == pytest.approx(whole.validation.loss, rel=1e-4)
    assert pieces.validation.num_tokens == whole.validation.num_tokens


def test_what_the_model_adds_stands_in_the_metrics(tmp_path):
    trainer, _ = trained(tmp_path / "a", write_text(tmp_path), model=SPARSE, piece=5)
    lines = [line for line in read_lines(trainer.folder / METRICS) if "loss" in line]
    assert all(line["aux"] > 0 for line in lines)
    assert all(line["loss"] == pytest.approx(line["ce"] + line["aux"], rel=1e-5) for line in lines)


def test_a_run_in_pieces_resumes_to_the_last_bit(tmp_path):
    config = tiny_config(write_text(tmp_path), piece=7)
    cache = {"cache_dir": tmp_path / "cache"}
    result = train_run(config, tmp_path / "run", **cache)

    def stop(progress):
        if progress.step == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(config, tmp_path / "stopped", progress=stop, **cache)
    again = train_run(config, tmp_path / "stopped", resume=True, **cache)
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (again.checkpoint / name).read_bytes() == (result.checkpoint / name).read_bytes()
    generators = [load_tree(r.checkpoint / "rng-0.safetensors")["torch"] for r in (again, result)]
    assert torch.equal(*generators)
    assert again.validation == result.validation
    shutil.rmtree(tmp_path / "stopped")


def test_scoring_at_another_length_in_pieces(tmp_path):
    data = DataConfig(source=str(write_text(tmp_path)), tokenizer="char", block_size=16, eval_block_size=100)
    config = tiny_config(tmp_path / "text.txt", data=data, piece=7, steps=4)
    cache = {"cache_dir": tmp_path / "cache"}
    result = train_run(config, tmp_path / "run", **cache)
    longer = evaluate_run(tmp_path / "run", piece=0, **cache)
    assert longer.loss == pytest.approx(result.validation.loss, rel=1e-5)
    stream = evaluate_run(tmp_path / "run", length=10_000, piece=64, **cache)
    assert stream.num_tokens == longer.num_tokens
    assert stream.loss == pytest.approx(evaluate_run(tmp_path / "run", length=10_000, piece=0, **cache).loss, rel=1e-5)
    short = evaluate_run(tmp_path / "run", length=16, **cache)
    assert len({stream.loss, longer.loss, short.loss}) == 3
    other = evaluate_run(tmp_path / "run", str(tmp_path / "text.txt"), length=50, **cache)
    assert other.num_tokens == len((tmp_path / "text.txt").read_text()) - 1
    assert [line for line in read_metrics(tmp_path / "run") if "validation_loss" in line]


def test_a_task_is_trained_and_scored_on_its_answers(tmp_path):
    data = DataConfig(source="needle:2", block_size=64)
    config = tiny_config(tmp_path, data=data, batch_size=2, accumulation=1, piece=16, steps=12)
    result = train_run(config, tmp_path / "run", cache_dir=tmp_path / "cache")
    assert (result.validation.num_tokens, result.validation.num_bytes) == (128, 128)
    # Below that of a guess among 257 tokens: answers are small letters, which is learnt at once.
    assert result.validation.loss < 5.54
    assert evaluate_run(tmp_path / "run", length=256, cache_dir=tmp_path / "cache").num_tokens == 128


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"piece": -1}, "piece=-1; wanted a number of tokens"),
        ({"piece": 8, "loss": LossConfig(kind="wave_coherence")}, "piece=8 with loss.kind='wave_coherence'"),
    ],
)
def test_mistakes(changes, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        tiny_config(tmp_path, **changes)
