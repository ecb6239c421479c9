"""The stack of blocks: its pattern, its state, its errors."""

import pytest
import torch

from undula.mixers.attention import FlashAttention
from undula.mixers.fft_conv import FFTConv
from undula.models.backbone import Backbone
from undula.models.blocks import DeepNormParallelBlock, ParallelBlock, PreNormBlock
from undula.models.config import BackboneConfig

SIZES = {"d_model": 8, "num_heads": 2, "d_ff": 12}


def test_the_pattern_of_mixers_repeats():
    backbone = Backbone(BackboneConfig(**SIZES, num_layers=5, mixers=("fft_conv", "fft_conv", "attention")))
    kinds = [type(mixer) for mixer in backbone.mixers()]
    assert kinds == [FFTConv, FFTConv, FlashAttention, FFTConv, FFTConv]


def test_options_reach_the_mixer_they_name():
    options = {"attention": {"qk_norm": True}, "fft_conv": {"num_modes": 3}}
    config = BackboneConfig(**SIZES, num_layers=2, mixers=("fft_conv", "attention"), mixer_options=options)
    first, second = Backbone(config).mixers()
    assert first.filter.modes == 3
    assert second.q_norm is not None


@pytest.mark.parametrize(
    ("name", "kind"), [("pre_norm", PreNormBlock), ("parallel", ParallelBlock), ("deepnorm", DeepNormParallelBlock)]
)
def test_blocks_are_chosen_by_name(name, kind):
    backbone = Backbone(BackboneConfig(**SIZES, num_layers=3, block=name, dropout=0.2))
    assert [type(layer) for layer in backbone.layers] == [kind] * 3
    assert {layer.dropout.p for layer in backbone.layers} == {0.2}
    if kind is DeepNormParallelBlock:
        assert backbone.layers[0].residual_scale == pytest.approx(6**-0.5)


def test_the_output_is_the_chain_of_blocks_normalised():
    backbone = Backbone(BackboneConfig(**SIZES, num_layers=2)).eval()
    x = torch.randn(2, 5, 8)
    first, second = backbone.layers
    assert torch.equal(backbone(x), backbone.norm_f(second(first(x))))
    assert torch.equal(backbone(x, False), backbone.norm_f(second(first(x, causal=False), causal=False)))


def test_every_layer_is_shown():
    backbone = Backbone(BackboneConfig(**SIZES, num_layers=2)).eval()
    x, seen = torch.randn(2, 5, 8), {}
    y = backbone(x, on_layer=seen.__setitem__)
    assert list(seen) == [0, 1, 2]
    assert torch.equal(seen[0], x)
    assert torch.equal(backbone.norm_f(seen[2]), y)


def test_a_state_has_one_part_for_each_layer():
    backbone = Backbone(BackboneConfig(**SIZES, num_layers=3, mixers=("attention", "fft_conv"))).eval()
    x = torch.randn(2, 6, 8)
    y, state = backbone(x[:, :4], state=backbone.init_state(2))
    assert len(state) == 3
    rest, _ = backbone(x[:, 4:], state=state)
    torch.testing.assert_close(torch.cat([y, rest], dim=1), backbone(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixers": ()}, "mixers is empty; name at least one"),
        ({"mixers": ("atention",)}, "unknown mixer 'atention'; did you mean 'attention'?"),
        ({"mixer_options": {"atention": {}}}, "unknown mixer in mixer_options 'atention'; did you mean 'attention'?"),
        ({"mixer_options": {"attention": {"qknorm": True}}}, "'qknorm'; did you mean 'qk_norm'?"),
        ({"d_model": 9}, "d_model=9 is not a multiple of n_heads=2"),
    ],
)
def test_mistakes_are_answered_with_the_fix(changes, message):
    with pytest.raises(ValueError, match=message):
        Backbone(BackboneConfig(**{**SIZES, **changes}))
