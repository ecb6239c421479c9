"""Encoders of images and films: any size, no trace of rows that meet, the twin by attention, mistakes answered."""

import json

import pytest
import torch

from tests.contract.cases import moved
from undula.config import from_dict, to_dict
from undula.models.config import BackboneConfig
from undula.models.senses_config import VideoEncoderConfig, VisionEncoderConfig
from undula.models.spectral_config import LayerType, SpectralConfig
from undula.models.vision_encoder import SpectralVideoEncoder, SpectralVisionEncoder

TWINS = {
    "grid_filter": {"grid_filter": {"modes": 4}},
    "grid_attention": {"grid_attention": {}},
    "attention": {"attention": {"rotary": False}},
}


def blocks(mixer="grid_filter", layers=2, **options):
    return BackboneConfig(
        d_model=8, num_layers=layers, num_heads=2, mixers=(mixer,), mixer_options=TWINS[mixer], d_ff=16, **options
    )


def config(mixer="grid_filter", layers=2, **changes):
    return VisionEncoderConfig(**{"channels": 1, "patch_size": 2, "backbone": blocks(mixer, layers), **changes})


def encoder(*args, **changes):
    return moved(SpectralVisionEncoder(config(*args, **changes))).double().eval()


def images(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mixer", TWINS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("height", "width", "patches"), [(8, 8, 16), (2, 2, 1), (6, 14, 21), (14, 6, 21), (2, 30, 15)])
def test_patches_of_any_size_stand_row_by_row_and_see_each_other(mixer, layers, height, width, patches):
    """The page's encoder had no layer at all where num_layers was 1."""
    built, x = encoder(mixer, layers), images(2, 1, height, width)
    rows, columns = built.grid(height, width)
    y = built(x)
    assert y.shape == (2, patches, 8)
    assert rows * columns == patches
    for row, column in ((0, 0), (rows - 1, columns - 1)):
        other = x.clone()
        other[0, :, 2 * row, 2 * column + 1] += 1
        moved_by = (built(other) - y).abs().amax((0, 2)).view(rows, columns)
        assert moved_by.argmax() == row * columns + column
        assert moved_by.min() > 1e-7
    torch.testing.assert_close(built(x[1:]), y[1:], atol=1e-12, rtol=0)


def test_weights_of_one_resolution_serve_at_another():
    """1024 pixels had more patches than the page's table of positions: it raised."""
    torch.manual_seed(0)
    built = SpectralVisionEncoder(SpectralConfig(modality="vision", hidden_dim=16, num_layers=1, num_heads=2)).eval()
    with torch.no_grad():
        big = built(images(1, 3, 1024, 1024).float())
        assert big.shape == (1, 4096, 16)
        assert big.isfinite().all()
        assert built(images(1, 3, 64, 128).float()).shape == (1, 32, 16)


def test_the_same_scene_at_twice_the_resolution_has_nearly_the_same_features():
    """Positions by the number of the patch, and filters by the number of the bin, would be others."""
    built = encoder(patch_size=1, backbone=blocks(layers=1))
    with torch.no_grad():
        built.backbone.layers[0].attn.short.weight[..., [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0

    def scene(size):
        at = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        return torch.cos(torch.pi * at)[None, None, :, None] * torch.cos(2 * torch.pi * at)[None, None, None]

    coarse, fine = (built(scene(n)).view(n, n, 8) for n in (24, 72))
    apart = (fine[1::3, 1::3] - coarse).square().mean().sqrt()
    assert apart / coarse.square().mean().sqrt() < 2e-3
    turned = (fine[1::3, 1::3].transpose(0, 1) - coarse).square().mean().sqrt()
    assert turned / coarse.square().mean().sqrt() > 0.3


def test_a_patch_that_sticks_out_is_filled_with_the_border():
    built, x = encoder(patch_size=4), images(1, 1, 9, 6)
    filled = torch.cat([x, *[x[:, :, -1:]] * 3], 2)
    filled = torch.cat([filled, *[filled[..., -1:]] * 2], 3)
    assert built.grid(9, 6) == (3, 2)
    torch.testing.assert_close(built(x), built(filled))
    whole = images(1, 1, 8, 4)
    assert built.grid(8, 4) == (2, 1)
    assert built(whole).shape == (1, 2, 8)


@pytest.mark.parametrize("mixer", TWINS)
def test_every_parameter_has_a_gradient(mixer):
    built = encoder(mixer).train()
    y = built(images(2, 1, 8, 6))
    (y * torch.randn_like(y)).sum().backward()
    assert [n for n, p in built.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


@pytest.mark.parametrize("mixer", TWINS)
def test_half_precision_stays_within_its_rounding(mixer):
    built, x = encoder(mixer).float(), images(2, 1, 8, 6).float()
    want = built(x)
    size = want.square().mean().sqrt()
    with torch.autocast("cpu", torch.bfloat16):
        lowered = built(x)
    y = built.to(torch.bfloat16)(x.bfloat16())
    assert y.dtype is torch.bfloat16
    assert (lowered.float() - want).square().mean().sqrt() / size < 0.03
    assert (y.float() - want).square().mean().sqrt() / size < 0.03


def test_twins_differ_in_their_mixer_alone():
    sizes = [{n: p.shape for n, p in encoder(mixer).named_parameters() if ".attn." not in n} for mixer in TWINS]
    assert sizes[0] == sizes[1] == sizes[2]
    assert len(sizes[0]) > 8


def test_positions_tell_directions_apart():
    built = encoder()
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    y = built(x).view(4, 4, 8)
    assert (y - y.transpose(0, 1)).abs().max() > 1e-3
    assert (y - y.flip(0)).abs().max() > 1e-3
    assert y.isfinite().all()


CHANGES = {"channels": 2, "patch_size": 1, "position_octaves": 2, "backbone": blocks(layers=1)}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_is_read(name):
    def shapes(plan):
        return {n: p.shape for n, p in SpectralVisionEncoder(plan).named_parameters()}

    assert shapes(config()) != shapes(config(**{name: CHANGES[name]}))


@pytest.mark.parametrize("plan", [config(), VideoEncoderConfig(frames=config())])
def test_plans_survive_json(plan):
    assert from_dict(type(plan), json.loads(json.dumps(to_dict(plan)))) == plan


def test_the_documented_configuration_is_read():
    small = {"hidden_dim": 24, "num_layers": 4, "num_heads": 2, "dropout": 0.2}
    plan = SpectralConfig(modality="vision", vision_patch_size=8, layer_type="hybrid", **small).vision()
    assert plan.patch_size == 8
    assert plan.channels == 3
    assert plan.backbone.mixers == ("grid_filter",) * 3 + ("attention",)
    assert plan.backbone.mixer_options["attention"] == {"rotary": False}
    assert (plan.backbone.d_model, plan.backbone.num_layers, plan.backbone.dropout) == (24, 4, 0.2)
    for kind in set(LayerType) - {LayerType.HYBRID}:
        other = SpectralConfig(modality="vision", layer_type=kind, use_phase_aware=False, **small).vision()
        assert other.backbone.mixers == ("grid_filter",)
        assert other.backbone.mixer_options == {"grid_filter": {"phase_aware": False}}
        assert bool(other.backbone.mixture.experts) == (kind == LayerType.MOE)
    for modality in ("text", "audio"):
        with pytest.raises(ValueError, match=f"modality='{modality}', but this model reads images; take modality='vi"):
            SpectralVisionEncoder(SpectralConfig(modality=modality))
    with pytest.raises(ValueError, match="modality='vision', but this model reads films; take modality='video'"):
        SpectralVideoEncoder(SpectralConfig(modality="vision"))
    with pytest.raises(ValueError, match="vision_patch_size=0; wanted at least 1"):
        SpectralConfig(vision_patch_size=0)


def test_mistakes_are_answered():
    built = encoder(patch_size=4)
    with pytest.raises(ValueError, match="got images of 3 channels, wanted 1"):
        built(images(1, 3, 8, 8))
    for shape in ((3, 8), (8, 3)):
        with pytest.raises(ValueError, match=f"an image of {shape[0]} x {shape[1]} pixels, smaller than a patch of"):
            built(images(1, 1, *shape))
    for name in ("channels", "patch_size", "position_octaves"):
        with pytest.raises(ValueError, match=f"{name}=0; wanted at least 1"):
            SpectralVisionEncoder(config(**{name: 0}))


def film_encoder(**changes):
    time = BackboneConfig(d_model=8, num_layers=1, num_heads=2, mixers=("spectral_gate",), d_ff=16)
    plan = VideoEncoderConfig(**{"frames": config(layers=1), "pooling": "attention", "backbone": time, **changes})
    return moved(SpectralVideoEncoder(plan)).double().eval()


def test_films_have_a_vector_for_each_frame_that_knows_all_frames():
    built, x = film_encoder(), images(2, 5, 1, 6, 4)
    y = built(x)
    assert y.shape == (2, 5, 8)
    other = x.clone()
    other[0, 4] += 1
    assert (built(other) - y)[0].abs().amax(-1).min() > 1e-7
    assert (built(other) - y)[1].abs().max() == 0
    backwards = built(x.flip(1)).flip(1)
    assert (backwards - y).abs().max() > 1e-4


def test_padding_of_a_film_changes_nothing():
    built, x = film_encoder(), images(1, 5, 1, 6, 4)
    padded = torch.cat([x, torch.full_like(x, torch.nan)], 1)
    mask = (torch.arange(10) < 5)[None]
    got = built(padded, mask)
    torch.testing.assert_close(got[:, :5], built(x), atol=1e-12, rtol=0)
    assert got.isfinite().all()


def test_every_field_of_films_is_read():
    def shapes(**changes):
        return {n: p.shape for n, p in film_encoder(**changes).named_parameters()}

    usual = shapes()
    assert shapes(frames=config(layers=2)) != usual
    assert shapes(pooling="mean") != usual
    assert shapes(backbone=blocks("attention", 1)) != usual
    with pytest.raises(ValueError, match=r"frames.backbone.d_model=8, backbone.d_model=128; wanted one width"):
        film_encoder(backbone=BackboneConfig())
    small = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "vision_patch_size": 4, "chunk_size": 8}
    y = SpectralVideoEncoder(SpectralConfig(modality="video", **small))(torch.randn(1, 3, 3, 8, 8))
    assert y.shape == (1, 3, 16)
