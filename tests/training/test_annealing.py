"""The embedding table fades out, in training, in scores and in checkpoints alike."""

import pytest
import torch
from safetensors.torch import load_file

from tests.training.tiny import tiny_config, tiny_trainer, write_text
from undula.models.config import BackboneConfig, ModelConfig, PacketConfig
from undula.training.annealing import get_annealing_ratio

BACKBONE = BackboneConfig(d_model=16, num_layers=1, num_heads=2, d_ff=24)
ANNEALED = ModelConfig(
    family="wave_gpt", backbone=BACKBONE, packets=PacketConfig(num_waves=3, num_harmonics=2, annealed=True)
)
RATIO = "model.standard_embed_ratio"


def test_the_share_falls_straight_to_nothing():
    assert [get_annealing_ratio(step, 4) for step in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    with pytest.raises(ValueError, match="total_annealing_steps=0"):
        get_annealing_ratio(1, 0)


def test_the_share_of_the_last_step_is_in_the_checkpoint_and_in_scores(tmp_path):
    trainer = tiny_trainer(
        tiny_config(write_text(tmp_path), model=ANNEALED, annealing_steps=10, keep_checkpoints=9), tmp_path / "run"
    )
    trainer.train()
    saved = {
        step: load_file(tmp_path / "run" / "checkpoints" / f"step-{step}" / "model.safetensors")[RATIO].item()
        for step in (6, 12, 24)
    }
    assert saved == {6: 0.5, 12: 0.0, 24: 0.0}
    score = trainer.score().loss
    trainer.model.model.standard_embed_ratio.fill_(1.0)
    assert trainer.score().loss != score


def test_a_resumed_run_anneals_on_bit_for_bit(tmp_path):
    config = tiny_config(write_text(tmp_path), model=ANNEALED, annealing_steps=20, keep_checkpoints=9)
    whole = tiny_trainer(config, tmp_path / "run")
    whole.train()
    resumed = tiny_trainer(config, tmp_path / "again")
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoints" / "step-12"))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": ANNEALED}, "annealing_steps=0, and the model has a table to fade out"),
        ({"annealing_steps": 5}, "annealing_steps=5, and the model has no table to fade out"),
    ],
)
def test_steps_and_model_must_agree(tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(tmp_path, **more)
