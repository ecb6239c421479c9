"""Start values."""

import pytest
import torch
from torch import nn

from undula.models.config import BackboneConfig, ModelConfig, PyramidConfig
from undula.models.init import initialise
from undula.models.language_model import build_language_model


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(300, 100)
        self.inner = nn.Linear(100, 300)
        self.out_proj = nn.Linear(300, 100)
        widths = {"w1": nn.Linear(100, 300, bias=False), "w3": nn.Linear(100, 300), "linear1": nn.Linear(400, 100)}
        self.wide = nn.ModuleDict(widths)
        self.ffn = nn.ModuleDict({"w2": nn.Linear(100, 100, bias=False), "linear2": nn.Linear(100, 100)})
        self.own = nn.Parameter(torch.full((5,), 7.0))


def test_spreads():
    model = Model()
    initialise(model, num_layers=8)
    small = 0.02 / 4
    spreads = {name: weight.std().item() for name, weight in model.named_parameters() if weight.ndim > 1}
    assert spreads == {
        "embedding.weight": pytest.approx(0.02, rel=0.05),
        "inner.weight": pytest.approx(0.02, rel=0.05),
        "out_proj.weight": pytest.approx(small, rel=0.05),
        "wide.w1.weight": pytest.approx(0.05, rel=0.05),
        "wide.w3.weight": pytest.approx(0.05, rel=0.05),
        "wide.linear1.weight": pytest.approx(0.025, rel=0.05),
        "ffn.w2.weight": pytest.approx(small, rel=0.05),
        "ffn.linear2.weight": pytest.approx(small, rel=0.05),
    }
    assert torch.equal(model.inner.bias, torch.zeros(300))
    assert torch.equal(model.own, torch.full((5,), 7.0))


def test_another_spread_scales_them_all():
    model = Model()
    initialise(model, num_layers=2, std=0.1)
    assert model.inner.weight.std().item() == pytest.approx(0.1, rel=0.05)
    assert model.out_proj.weight.std().item() == pytest.approx(0.05, rel=0.05)


def test_projections_to_waves_keep_the_variance_of_their_input():
    model = nn.Module()
    model.to_wave = nn.ModuleList([nn.Linear(400, 100)])
    initialise(model, num_layers=2)
    assert model.to_wave[0].weight.std().item() == pytest.approx(400**-0.5, rel=0.05)


def test_the_same_seed_gives_the_same_start():
    def weights(seed):
        torch.manual_seed(seed)
        model = Model()
        initialise(model, 2)
        return model.inner.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_a_stack_may_be_pyramids_alone():
    pyramid = PyramidConfig(after=(0,), band_num_layers=(2, 1, 1), mixer="fft_conv")
    backbone = BackboneConfig(d_model=36, num_layers=0, num_heads=2, d_ff=16, block="parallel", pyramid=pyramid)
    model = build_language_model(ModelConfig(family="wave", vocab_size=11, backbone=backbone))
    scores = model(torch.arange(10)[None])
    assert scores.shape == (1, 10, 11)
    assert scores.isfinite().all()
