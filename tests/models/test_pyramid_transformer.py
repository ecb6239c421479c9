"""Pyramids among blocks: where they stand, shared or not, and that models with them stream."""

import inspect
from dataclasses import replace

import pytest
import torch

from tests.contract.cases import moved
from tests.models.test_pyramid import pieces
from undula.models.backbone import Backbone
from undula.models.config import BackboneConfig, PyramidConfig
from undula.models.pyramid import MultiResolutionWavePyramid
from undula.models.pyramid_transformer import PyramidWaveTransformer, WaveTransformerWithPyramid
from undula.models.token_codec import TokenDecoder, TokenEncoder
from undula.models.wave_transformer import WaveTransformer

BANDS = PyramidConfig(band_boundaries=(0.5,), band_num_layers=(2, 1), band_strides=(2, 1), d_ff_multi=2)
SIZES = {"d_model": 24, "num_heads": 4, "d_ff": 16, "num_layers": 3}
CODEC = {"vocab_size": 11, "num_harmonics": 8, "d_model": 8, "num_heads": 2, "num_heads_kv": 2, "num_layers": 1}


def backbone(**places):
    config = BackboneConfig(**SIZES, pyramid=replace(BANDS, **places))
    return moved(Backbone(config)).double().eval()


def waves(steps=9):
    return torch.randn(2, steps, 24, dtype=torch.float64)


def test_pyramids_stand_after_the_blocks_that_are_named():
    stack, x = backbone(after=(2, 0, 2)), waves()
    first, second, third = stack.layers
    before, one, two = stack.pyramids
    assert torch.equal(stack(x), stack.norm_f(third(two(one(second(first(before(x))))))))
    y = x
    for part in (before, first, second, one, two, third):
        y = part(y, False)
    assert torch.equal(stack(x, False), stack.norm_f(y))
    shared = backbone(after=(1, 3), shared=True)
    (only,) = shared.pyramids
    first, second, third = shared.layers
    assert torch.equal(shared(x), shared.norm_f(only(third(second(only(first(x)))))))
    assert len(backbone().pyramids) == 0


@pytest.mark.parametrize("shared", [False, True])
def test_every_place_has_a_state_of_its_own(shared):
    stack, x = backbone(after=(1, 3), shared=shared), waves()
    assert len(stack.init_state(2)) == 5
    got, _ = pieces(stack, x, [3, 1, 1, 4])
    torch.testing.assert_close(got, stack(x), atol=1e-9, rtol=0)


def test_hooks_see_the_stream_as_the_next_block_gets_it():
    stack, x, seen = backbone(after=(1, 3)), waves(), {}
    y = stack(x, on_layer=seen.__setitem__)
    assert list(seen) == [0, 1, 2, 3]
    assert torch.equal(seen[1], stack.pyramids[0](stack.layers[0](x)))
    assert torch.equal(stack.norm_f(seen[3]), y)


def test_the_configuration_reaches_the_pyramids():
    config = BackboneConfig(**SIZES, dropout=0.3, pyramid=replace(BANDS, after=(1,), num_kv_heads=1, cross_band=False))
    (pyramid,) = Backbone(config).pyramids
    assert [len(band.processor.layers) for band in pyramid.bands] == [2, 1]
    assert [band.stride for band in pyramid.bands] == [2, 1]
    assert pyramid.bands[0].processor.layers[0].ffn.w1.out_features == 2 * pyramid.bands[0].d_model
    assert {band.processor.layers[0].attn.n_heads_kv for band in pyramid.bands} == {1}
    assert {layer.dropout.p for band in pyramid.bands for layer in band.processor.layers} == {0.3}
    assert len(pyramid.pairs) == 0
    assert len(backbone(after=(1,)).pyramids[0].pairs) == 1
    assert backbone(after=(1,)).pyramids[0].bands[1].processor.layers[0].attn.rotary_base == 10000.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pyramid": replace(BANDS, after=(4,))}, r"pyramid.after=\[4\]: there is no block 4; wanted .* num_layers=3"),
        ({"pyramid": replace(BANDS, after=(-1,))}, "there is no block -1"),
        ({"d_model": 32, "pyramid": replace(BANDS, after=(1,))}, "d_model=32 is not 3 x harmonics"),
    ],
)
def test_mistakes_are_answered_with_the_fix(changes, message):
    with pytest.raises(ValueError, match=message):
        Backbone(BackboneConfig(**{**SIZES, **changes}))


def middle(**changes):
    sizes = {"num_harmonics": 8, "num_standard_layers": 1, "num_final_layers": 2, "n_heads": 4, "n_heads_kv": 2}
    return moved(PyramidWaveTransformer(**{**sizes, "dropout": 0.0, "pyramid": BANDS, **changes})).double().eval()


def test_pyramids_in_the_middle():
    model, x = middle(), waves()
    assert [len(part) for part in (model.standard_layers, model.pyramid_layers, model.final_layers)] == [1, 2, 2]
    assert all(isinstance(part, MultiResolutionWavePyramid) for part in model.pyramid_layers)
    y = x
    for part in (*model.standard_layers, *model.pyramid_layers, *model.final_layers):
        y = part(y)
    assert torch.equal(model(x), model.norm_f(y))
    torch.testing.assert_close(pieces(model, x, [1] * 9)[0], model(x), atol=1e-9, rtol=0)
    other = torch.cat([x[:, :5], waves()[:, 5:]], dim=1)
    assert torch.equal(model(other)[:, :5], model(x)[:, :5])
    assert model.final_layers[0].attn.rotary_base == 10000.0
    assert middle(rotary=False).final_layers[0].attn.rotary_base is None
    assert {layer.attn.n_heads_kv for layer in model.standard_layers} == {2}


def every_few(**changes):
    arguments = {"num_harmonics": 8, "transformer_num_heads": 4, "transformer_heads_kv": 2, "dropout": 0.0}
    return WaveTransformerWithPyramid(
        TokenEncoder(**CODEC), TokenDecoder(**CODEC), **{**arguments, "pyramid": BANDS, **changes}
    )


def test_one_pyramid_after_every_few_layers():
    model = moved(every_few(transformer_num_layers=5, pyramid_interval=2)).double().eval()
    ids = torch.randint(11, (2, 9))
    x = model.wave_encoder(ids).to_representation()
    for number, layer in enumerate(model.layers, 1):
        x = layer(x)
        if number in (2, 4):
            x = model.pyramid(x)
    want = model.wave_decoder(model.norm_f(x))
    torch.testing.assert_close(model({"input_ids": ids}), want, atol=1e-12, rtol=0)
    torch.testing.assert_close(pieces(Tokens(model), ids, [2, 1, 6])[0], model({"input_ids": ids}), atol=1e-9, rtol=0)
    assert model.pyramid_interval == 2
    assert len(model.layers) == 5


class Tokens:
    """The transformer, called with tokens alone."""

    def __init__(self, model):
        self.model, self.init_state = model, model.init_state

    def __call__(self, ids, attention_mask=None, state=None):
        return self.model({"input_ids": ids}, attention_mask=attention_mask, state=state)


def test_a_new_pyramid_does_not_disturb_the_transformer():
    plain = WaveTransformer(TokenEncoder(**CODEC), TokenDecoder(**CODEC), 8, 6, 4, 2, dropout=0.0).eval()
    model = every_few().eval()
    missing = model.load_state_dict(plain.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    assert {key.split(".")[1] for key in missing.missing_keys} == {"pyramids"}
    ids = torch.randint(11, (2, 9))
    assert torch.equal(model({"input_ids": ids}), plain({"input_ids": ids}))


def test_the_interval_is_checked_and_documented():
    assert inspect.signature(WaveTransformerWithPyramid).parameters["pyramid_interval"].default == 3
    for interval in (0, 7):
        with pytest.raises(ValueError, match=f"pyramid_interval={interval} of 6 layers"):
            every_few(pyramid_interval=interval)
    described = inspect.signature(WaveTransformer).parameters
    again = inspect.signature(WaveTransformerWithPyramid).parameters
    assert [name for name in described if name not in again] == ["backbone", "reduction"]
    assert {name: p.default for name, p in described.items() if name in again} == {
        name: p.default for name, p in again.items() if name != "pyramid_interval"
    }
