"""The loss of a run, and its parts in the metrics."""

import math

import pytest
import torch

from tests.training.tiny import tiny_config, tiny_trainer, write_text
from undula.losses.config import LossConfig
from undula.models.config import BackboneConfig, MixtureConfig, ModelConfig, PacketConfig, SparsityConfig
from undula.training.objective import PARTS
from undula.training.records import METRICS, read_lines

WAVE_GPT = ModelConfig(
    family="wave_gpt",
    backbone=BackboneConfig(d_model=16, num_layers=2, num_heads=2, d_ff=24),
    packets=PacketConfig(num_waves=3, num_harmonics=2),
)


def run(folder, loss, model=WAVE_GPT):
    trainer = tiny_trainer(tiny_config(write_text(folder), model=model, loss=loss), folder / "run")
    trainer.train()
    lines = [line for line in read_lines(folder / "run" / METRICS) if "loss" in line]
    return trainer, lines


def test_the_parts_add_up_and_bits_count_the_text_alone(tmp_path):
    weights = LossConfig(
        kind="wave_coherence", lambda_phase=0.1, lambda_energy=0.2, lambda_harmonic=1e-3, window_size=4
    )
    trainer, lines = run(tmp_path, weights)
    for line in lines:
        assert line["loss"] == pytest.approx(line["ce"] + line["coherence"], rel=1e-5)
        parts = 0.1 * line["phase"] + 0.2 * line["energy"] + 1e-3 * line["harmonic"]
        assert line["coherence"] == pytest.approx(parts, rel=1e-4)
        assert line["bits_per_byte"] == pytest.approx(line["ce"] / math.log(2) / trainer.task.bytes_per_token, rel=1e-5)
    assert lines[-1]["harmonic"] > 0


def test_the_terms_move_the_model(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    kinds = [LossConfig(kind="wave_coherence", lambda_energy=1.0), LossConfig(kind="wave_coherence"), LossConfig()]
    ends = []
    for name, kind in zip("abc", kinds, strict=True):
        torch.manual_seed(0)
        trainer, lines = run(tmp_path / name, kind)
        ends.append(trainer.model.model.gpt.head.weight.detach())
    assert set(PARTS).isdisjoint(lines[-1])
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[1], ends[2])


def test_a_model_without_packets_has_the_two_other_terms(tmp_path):
    plain = ModelConfig(backbone=WAVE_GPT.backbone)
    _, lines = run(tmp_path, LossConfig(kind="wave_coherence"), plain)
    assert lines[-1]["harmonic"] == 0
    assert lines[-1]["phase"] > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "wave_coherense"}, "unknown loss 'wave_coherense'; did you mean 'wave_coherence'"),
        ({"lambda_phase": -1.0}, "lambda_phase=-1.0; wanted 0 or more"),
        ({"window_size": 1}, "window_size=1; wanted at least 2"),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        LossConfig(**values)


def test_what_a_selector_adds_is_told_apart_from_the_text(tmp_path):
    backbone = BackboneConfig(d_model=24, num_layers=1, num_heads=2, d_ff=16, mixers=("fft_conv",))
    sparsity = SparsityConfig(k_ratio=0.5, min_k=2, dynamic_k=True, weight=2.0)
    trainer, lines = run(tmp_path, LossConfig(), ModelConfig(family="wave", backbone=backbone, sparsity=sparsity))
    for line in lines:
        assert line["aux"] > 0
        assert line["loss"] == pytest.approx(line["ce"] + line["aux"], rel=1e-5)
        assert line["bits_per_byte"] == pytest.approx(line["ce"] / math.log(2) / trainer.task.bytes_per_token, rel=1e-5)
    assert trainer.validation.loss < lines[-1]["loss"]


def test_what_experts_add_is_told_apart_from_the_text_in_every_family(tmp_path):
    mixture = MixtureConfig(experts=4, balance=2.0)
    backbone = BackboneConfig(d_model=24, num_layers=2, num_heads=2, d_ff=16, mixers=("short_conv",), mixture=mixture)
    for family in ("plain", "spectral", "wave"):
        (tmp_path / family).mkdir()
        model = ModelConfig(family=family, backbone=backbone, sparsity=SparsityConfig(k_ratio=0.5, min_k=2, weight=0.0))
        _, lines = run(tmp_path / family, LossConfig(), model)
        for line in lines:
            # Two blocks of experts; even use costs 1 each.
            assert 4 * 0.98 < line["aux"] < 4 * 2
            assert line["loss"] == pytest.approx(line["ce"] + line["aux"], rel=1e-5)
