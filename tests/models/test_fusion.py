"""Fusion: by definition, gates by name, turned waves of equal size, no trace of padding, of rates."""

import json

import numpy as np
import pytest
import torch

from tests.contract.cases import moved
from tests.reference import fusion as reference
from undula.config import from_dict, to_dict
from undula.models.config import BackboneConfig
from undula.models.fusion import SpectralCrossModalFusion
from undula.models.senses_config import SENSES, FusionConfig
from undula.models.spectral_config import SpectralConfig

WIDTHS = {"text": 6, "vision": 4, "audio": 5, "video": 3}
STEPS = {"text": 11, "vision": 12, "audio": 30, "video": 7}


def blocks(layers=1):
    return BackboneConfig(d_model=8, num_layers=layers, num_heads=2, mixers=("spectral_gate",), d_ff=16)


def config(**changes):
    return FusionConfig(**{"widths": WIDTHS, "num_bands": 3, "backbone": blocks(), **changes})


def fusion(**changes):
    torch.manual_seed(0)
    return moved(SpectralCrossModalFusion(config(**changes))).double().eval()


def features(*names, rows=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    drawn = {n: torch.randn(rows, STEPS[n], WIDTHS[n], dtype=torch.float64, generator=generator) for n in SENSES}
    return {f"{name}_features": drawn[name] for name in names}


SUBSETS = [("text",), ("audio",), ("text", "audio"), ("vision", "audio", "video"), SENSES]


@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
@pytest.mark.parametrize("length", [1, 9, 20])
def test_by_definition(names, length):
    built, given = fusion(), features(*names)
    p = {name: value.detach().numpy() for name, value in built.named_parameters()}
    got = built.fused({n: (given[f"{n}_features"], None) for n in names}, length).detach().numpy()
    for row in range(2):
        senses = {n: given[f"{n}_features"][row].numpy() for n in names}
        np.testing.assert_allclose(got[row], reference.fused(senses, p, SENSES, length, 2, 3), atol=1e-11)
    y = built(**given, length=length)
    torch.testing.assert_close(y, built.backbone(torch.from_numpy(got), False))
    assert y.shape == (2, length, 8)


@pytest.mark.parametrize("name", SENSES)
@pytest.mark.parametrize("part", ["gates", "angles", "from_sense"])
def test_one_sense_alone_uses_what_bears_its_name(name, part):
    """The page's gates went by the place among what was given: sound alone used those of text."""
    built = fusion()
    given = features(name)
    y = built(**given, length=9)
    for other in SENSES:
        with torch.no_grad():
            getattr(built, part)[other].weight.add_(0.3)
        changed = (built(**given, length=9) - y).abs().max() > 1e-6
        with torch.no_grad():
            getattr(built, part)[other].weight.sub_(0.3)
        assert changed == (other == name)


@pytest.mark.parametrize("name", SENSES)
def test_missing_senses_are_told_by_a_vector_of_their_own(name):
    built = fusion()
    beside = next(other for other in SENSES if other != name)
    without, present = features(beside), features(name, beside)
    before = built(**without, length=9), built(**present, length=9)
    with torch.no_grad():
        built.missing[name].add_(1.0)
    assert (built(**without, length=9) - before[0]).abs().max() > 1e-3
    assert torch.equal(built(**present, length=9), before[1])


def test_turning_leaves_the_size_of_every_wave():
    """The page's alignment added a real number, and its mixing made sizes negative."""
    built = fusion()
    waves = torch.randn(2, 20, 8, dtype=torch.float64)
    mean, joint = torch.randn(2, 2, 8, dtype=torch.float64)
    with torch.no_grad():
        built.gates["audio"].weight.zero_()
        built.gates["audio"].bias.zero_()
    real, imag = built.turned("audio", waves, mean, joint)
    torch.testing.assert_close(torch.hypot(real, imag), waves.abs(), atol=1e-12, rtol=0)
    angle = torch.atan2(imag, real * 1.0)
    assert (imag[:, 1:].abs() > 1e-3).any(1).all()
    assert angle.abs().max() > 1
    other, _ = built.turned("audio", waves, mean + 1, joint)
    assert (other - real).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["text", "audio", "video"])
def test_padding_changes_nothing(name):
    built, given = fusion(), features(*SENSES, rows=1)
    want = built(**given, length=9)
    x = given[f"{name}_features"]
    junk = torch.full((1, 5, x.shape[2]), torch.nan, dtype=x.dtype)
    padded = torch.cat([junk[:, :2], x, junk], 1)
    mask = torch.ones(1, padded.shape[1])
    mask[:, :2] = mask[:, -5:] = 0
    got = built(**{**given, f"{name}_features": (padded, mask)}, length=9)
    torch.testing.assert_close(got, want, atol=1e-11, rtol=0)


@pytest.mark.parametrize("name", SENSES)
def test_a_row_without_real_positions_lacks_the_sense(name):
    beside = next(other for other in SENSES if other != name)
    built, given = fusion(), features(name, beside)
    x = given[f"{name}_features"].clone()
    x[1] = torch.nan
    mask = torch.ones(x.shape[:2]).bool()
    mask[1] = False
    got = built(**{**given, f"{name}_features": (x, mask)}, length=9)
    torch.testing.assert_close(got[0], built(**given, length=9)[0], atol=1e-11, rtol=0)
    without = built(**{f"{beside}_features": given[f"{beside}_features"]}, length=9)
    torch.testing.assert_close(got[1], without[1], atol=1e-11, rtol=0)
    nothing = built(**{f"{name}_features": (x, torch.zeros_like(mask))}, length=9)
    assert nothing.isfinite().all()


def test_senses_meet_by_their_share_of_the_time_and_not_by_index():
    """What lasts as long but has three times as many positions is the same thing; the page compared raw indices."""
    built = fusion()
    k = torch.arange(5, dtype=torch.float64)[:, None]
    amplitudes = torch.randn(5, 5, dtype=torch.float64)

    def sampled(size):
        u = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        return ((torch.pi * k * u).cos().T @ amplitudes)[None]

    text = features("text", rows=1)
    few, many = (built(**text, audio_features=sampled(size), length=9) for size in (10, 30))
    torch.testing.assert_close(few, many, atol=1e-10, rtol=0)
    sparse, dense = (built.fused({"audio": (sampled(10), None)}, length) for length in (7, 21))
    torch.testing.assert_close(dense[:, 1::3], sparse, atol=1e-10, rtol=0)


def test_pictures_are_resampled_in_both_directions():
    built = fusion()
    y, x = ((torch.arange(n, dtype=torch.float64) + 0.5) * torch.pi / n for n in (3, 4))
    fine = [(torch.arange(n, dtype=torch.float64) + 0.5) * torch.pi / n for n in (4, 5)]
    with torch.no_grad():
        for part in (built.gates, built.angles):
            part["vision"].weight.zero_()
            part["vision"].bias.zero_()
        for name in ("text", "audio", "video"):
            built.missing[name].zero_()

    def picture(y, x):
        image = (y.cos()[:, None] + (2 * y).cos()[:, None] * x.cos() + (3 * x).cos())[..., None]
        return image.flatten(0, 1)[None].expand(1, -1, 4)

    got = built.fused({"vision": (picture(y, x), None)}, 20, (3, 4))
    want = built.from_sense["vision"](picture(*fine))
    torch.testing.assert_close(got, want, atol=1e-11, rtol=0)
    as_rows = built.fused({"vision": (picture(y, x), None)}, 20)
    assert (as_rows - want).abs().max() > 0.1
    mask = torch.ones(1, 12).bool()
    mask[0, 5] = False
    assert built.fused({"vision": (picture(y, x), mask)}, 20, (3, 4)).isfinite().all()


def test_half_precision_stays_within_its_rounding():
    """Waves of bfloat16 samples with bfloat16 tables would be rounded once more for every wave."""
    built, given = fusion().float(), features("text", "audio")
    given = {name: (x.float(), torch.ones(x.shape[:2])) for name, x in given.items()}
    want = built(**given, length=20)
    size = want.square().mean().sqrt()
    with torch.autocast("cpu", torch.bfloat16):
        lowered = built(**given, length=20)
    half = {name: (x.bfloat16(), mask) for name, (x, mask) in given.items()}
    y = built.to(torch.bfloat16)(**half, length=20)
    assert y.dtype is torch.bfloat16
    assert (lowered.float() - want).square().mean().sqrt() / size < 0.03
    assert (y.float() - want).square().mean().sqrt() / size < 0.03


def test_every_parameter_has_a_gradient():
    built = fusion().train()
    x = features("text", "audio", "vision", "video")
    mask = torch.ones(2, 11)
    mask[1] = 0
    y = built(**{**x, "text_features": (x["text_features"], mask)}, length=9)
    y = y + built(**features("audio"), length=9)
    y = y + built(**features("text"), length=9)
    (y * torch.randn_like(y)).sum().backward()
    assert [n for n, p in built.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_plans_are_read_and_survive_json():
    plan = config(widths={"audio": 5, "text": 6})
    assert from_dict(FusionConfig, json.loads(json.dumps(to_dict(plan)))) == plan
    built = fusion(widths=plan.widths)
    assert list(built.widths) == ["text", "audio"]
    assert fusion(num_bands=2).gates["text"].out_features == 4
    documented = SpectralConfig(hidden_dim=16, num_layers=1, num_heads=2, chunk_size=8)
    both = SpectralCrossModalFusion(documented)
    x = torch.randn(1, 9, 16)
    assert both(text_features=x, vision_features=x, audio_features=x, length=5).shape == (1, 5, 16)
    assert documented.fusion().backbone == documented.backbone(causal=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "got no sense; give the features of at least one"),
        ({"audio_features": torch.zeros(2, 3, 5), "length": 0}, "length=0; wanted at least one position"),
        ({"audio_features": torch.zeros(2, 3, 6)}, r"audio_features have the shape \(2, 3, 6\); wanted .* 5\)"),
        ({"audio_features": torch.zeros(2, 0, 5)}, "wanted .batch, at least one position, 5"),
        ({"video_features": torch.zeros(2, 3, 3)}, "unknown sense of this fusion 'video'"),
        (
            {"audio_features": (torch.zeros(2, 3, 5), torch.ones(2, 4))},
            r"the mask of audio_features has the shape \(2, 4",
        ),
        ({"audio_features": torch.zeros(2, 3, 5), "text_features": torch.zeros(3, 3, 6)}, "got batches of"),
        ({"vision_features": torch.zeros(2, 6, 4), "vision_grid": (2, 4)}, r"vision_grid=\(2, 4\); wanted"),
        ({"audio_features": torch.zeros(2, 6, 5), "vision_grid": (2, 3)}, r"vision_grid=\(2, 3\); wanted"),
    ],
)
def test_mistakes_are_answered(given, message):
    built = SpectralCrossModalFusion(config(widths={"text": 6, "audio": 5, "vision": 4}))
    with pytest.raises(ValueError, match=message):
        built(**{"length": 4, **given})


def test_wrong_plans_are_answered():
    with pytest.raises(ValueError, match="unknown sense 'visoin'; did you mean 'vision'?"):
        SpectralCrossModalFusion(config(widths={"visoin": 4}))
    with pytest.raises(ValueError, match=r"widths={}, num_bands=3; wanted at least one of both"):
        SpectralCrossModalFusion(config(widths={}))
