"""Settling: chosen when it is time, kept by checkpoints, the same blocks in training as in the compacted model."""

import pytest
import torch
from safetensors.torch import load_file

from tests.training.tiny import tiny_config, tiny_trainer, write_text
from undula.hf.compact import compact
from undula.hf.modeling import UndulaForCausalLM
from undula.models.config import BackboneConfig, CodecConfig, ModelConfig, SparsityConfig

BACKBONE = BackboneConfig(d_model=24, num_layers=1, num_heads=2, d_ff=16, block="parallel")
SETTLED = "model.transformer.reduction.settled"


def settling(**more):
    sparsity = SparsityConfig(k_ratio=0.5, min_k=1, settles=True)
    model = ModelConfig(family="wave", backbone=BACKBONE, codec=CodecConfig(d_model=8, num_heads=0), sparsity=sparsity)
    return {"model": model, "keep_checkpoints": 9, "accumulation": 1, **more}


def test_the_choice_is_made_in_time_kept_and_a_resumed_run_goes_on_bit_for_bit(tmp_path):
    config = tiny_config(write_text(tmp_path), **settling(settling=0.375))
    trainer = tiny_trainer(config, tmp_path / "run")
    trainer.train()
    whole = trainer.model.state_dict()
    saved = {
        step: load_file(tmp_path / "run" / "checkpoints" / f"step-{step}" / "model.safetensors")[SETTLED].sum().item()
        for step in (6, 12, 24)
    }
    assert saved == {6: 0, 12: 4, 24: 4}
    for start in (6, 12):
        resumed = tiny_trainer(config, tmp_path / "again")
        resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoints" / f"step-{start}"))
        assert all(torch.equal(value, whole[name]) for name, value in resumed.model.state_dict().items())
        assert resumed.score().loss == trainer.score().loss


def test_what_is_left_out_learns_no_more_and_compacting_changes_nothing(tmp_path):
    config = tiny_config(write_text(tmp_path), **settling(settling=0.5))
    trainer = tiny_trainer(config, tmp_path / "run")
    trainer.train()
    loaded = UndulaForCausalLM.from_pretrained(tmp_path / "run" / "checkpoints" / "step-24").double()
    small = compact(loaded)
    ids = torch.randint(5, (2, 9))
    torch.testing.assert_close(small(ids).logits, loaded(ids).logits, atol=1e-10, rtol=0)
    assert (small.config.hidden_size, small.config.model_config.backbone.d_ff) == (12, 8)
    settled = loaded.model.reduction.settled
    assert torch.equal(loaded.model.kept_harmonics(ids), settled.expand(2, 9, -1))
    loaded.train()(ids, labels=ids).loss.backward()
    read = loaded.model.transformer.layers[0].norm.weight.grad.view(3, -1)
    assert read[:, settled].all()
    assert not read[:, ~settled].any()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (settling(), "settling=0.0, and the model settles; give the share"),
        ({"settling": 0.5}, "settling=0.5, and the model does not settle"),
        (settling(settling=1.0), "settling=1.0; wanted a share of the steps, 0 up to less than 1"),
    ],
)
def test_share_and_model_must_agree(tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(tmp_path, **more)
