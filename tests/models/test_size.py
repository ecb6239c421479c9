"""Numbers of parameters without building them, and models of equal size."""

import dataclasses

import pytest

from undula.models.config import BackboneConfig, ModelConfig, PacketConfig
from undula.models.language_model import build_language_model
from undula.models.size import of_size, parameter_count

PLAIN = ModelConfig(vocab_size=31, backbone=BackboneConfig(d_model=24, num_layers=2, num_heads=4, d_ff=64))
PACKETS = dataclasses.replace(PLAIN, family="wave_gpt", packets=PacketConfig(num_waves=3))
WAVE = dataclasses.replace(PLAIN, family="wave")


@pytest.mark.parametrize("config", [PLAIN, PACKETS, WAVE], ids=lambda config: config.family)
def test_counts_what_a_built_model_has(config):
    model = build_language_model(config)
    assert parameter_count(config) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("config", [PACKETS, WAVE], ids=lambda config: config.family)
def test_equal_size_within_half_a_step(config):
    wanted = 80_000
    found = of_size(config, wanted)
    assert found.backbone.d_ff % 8 == 0
    # A step of 8 is 3 x 24 x 8 parameters in each of two layers.
    assert abs(parameter_count(found) - wanted) <= 3 * 24 * 8
    assert dataclasses.replace(found, backbone=config.backbone) == config


def test_too_small_a_size_is_an_error():
    with pytest.raises(ValueError, match=r"the plain model with attention has [\d,]+ parameters .* make it narrower"):
        of_size(PLAIN, 5_000)
