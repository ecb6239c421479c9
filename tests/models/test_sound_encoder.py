"""The encoder of sound: no trace of padding, no future where it is causal, no limit of length, mistakes answered."""

import json
import math

import pytest
import torch

from tests.contract.cases import moved
from undula.config import from_dict, to_dict
from undula.models.config import BackboneConfig
from undula.models.senses_config import AudioEncoderConfig
from undula.models.sound_encoder import SpectralAudioEncoder
from undula.models.spectral_config import SpectralConfig
from undula.ops.mel import log_mel

RATE, HOP = 2000, 20


def blocks(mixer="spectral_gate", layers=2):
    return BackboneConfig(d_model=8, num_layers=layers, num_heads=2, mixers=(mixer,), d_ff=16)


def config(**changes):
    return AudioEncoderConfig(**{"sample_rate": RATE, "num_mels": 6, "backbone": blocks(), **changes})


def encoder(**changes):
    return moved(SpectralAudioEncoder(config(**changes))).double().eval()


def sound(*shape):
    return 0.1 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mixer", ["spectral_gate", "attention"])
@pytest.mark.parametrize("length", [1, 19, 20, 21, 333, 400])
def test_padding_changes_nothing_at_real_positions(causal, mixer, length):
    built, x = encoder(causal=causal, backbone=blocks(mixer)), sound(1, length)
    want, real = built(waveform=x)
    assert real.all()
    padded = torch.cat([x, torch.full((1, 517), torch.nan, dtype=x.dtype)], 1)
    rows = torch.cat([padded, sound(1, length + 517), padded])
    y, real = built(waveform=rows, lengths=torch.tensor([length, length + 517, 0]))
    kept = want.shape[1]
    torch.testing.assert_close(y[0, :kept], want[0], atol=1e-10, rtol=0)
    assert real.sum(1).tolist() == [kept, y.shape[1], 0]
    assert real[0, :kept].all()
    assert y[real].isfinite().all()


@pytest.mark.parametrize("causal", [False, True])
def test_nothing_depends_on_later_sound_where_it_is_causal(causal):
    """The prefix audit: what comes later, and how much of it, leaves no trace."""
    built, x = encoder(causal=causal), sound(1, 900)
    whole, _ = built(waveform=x)
    worst = 0.0
    for n in (1, 20, 21, 80, 81, 401, 899):
        part, _ = built(waveform=x[:, :n])
        assert part.shape[1] == math.ceil(math.ceil(n / HOP) / 4)
        worst = max(worst, float((part - whole[:, : part.shape[1]]).detach().abs().max()))
    assert (worst < 1e-9) == causal
    grown = x.clone().requires_grad_()
    built(waveform=grown)[0][:, :6].sum().backward()
    # Position 5 stands at frame 20, whose last sample is number 400.
    assert (float(grown.grad[:, 401:].abs().max()) < 1e-12) == causal
    assert grown.grad[:, 300:401].abs().max() > 1e-4


@pytest.mark.parametrize("causal", [False, True])
def test_spectrograms_in_place_of_samples(causal):
    """The page took samples for spectrograms, unless told: eighty bands that were all alike."""
    built, x = encoder(causal=causal), sound(2, 700)
    lengths = torch.tensor([700, 385])
    want, real = built(waveform=x, lengths=lengths)
    silenced = torch.where(torch.arange(700) < lengths[:, None], x, 0.0)
    mel = log_mel(silenced, RATE, 6, causal)
    y, same = built(mel=mel, lengths=-(-lengths // HOP))
    assert torch.equal(real, same)
    torch.testing.assert_close(y[real], want[real], atol=1e-12, rtol=0)
    for wrong, named in (({}, "neither"), ({"waveform": x, "mel": mel}, "both")):
        with pytest.raises(ValueError, match=f"got {named} of waveform .* and mel"):
            built(**wrong)


@pytest.mark.parametrize(
    ("length", "causal", "heard"),
    [
        (1, False, False),
        (49, False, True),
        (2000, False, True),
        (1, True, False),
        (49, True, False),
        (2000, True, True),
    ],
)
def test_silence_and_short_sounds_are_finite(length, causal, heard):
    """A click has no colour, as silence has none; position 0 of causal encoders has heard the first sample alone."""
    built, x = encoder(causal=causal), torch.zeros(2, length, dtype=torch.float64)
    x[1, 1:] = sound(length - 1) + 0.1
    x[1, 0] = 1
    x.requires_grad_()
    y, real = built(waveform=x)
    y.square().sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()
    assert y.shape[1] == real.shape[1] == math.ceil(math.ceil(length / HOP) / 4)
    assert ((y[0] - y[1]).abs().max() > 1e-3) == heard


def test_loudness_is_levelled():
    built, x = encoder(), sound(1, 800)
    quiet, loud = (built(waveform=scale * x)[0] for scale in (0.3, 3.0))
    assert (quiet - loud).abs().max() < 0.05 * loud.abs().max()


def test_no_limit_of_length_and_positions_that_differ():
    """The page's table of positions ended after 100 s."""
    torch.manual_seed(0)
    built = SpectralAudioEncoder(config(sample_rate=200, backbone=blocks(layers=1), halvings=0)).eval()
    with torch.no_grad():
        y, _ = built(waveform=sound(1, 200 * 130).float())
    assert y.shape == (1, 13_000, 8)
    assert y.isfinite().all()
    assert (y[0, 12_990] - y[0, 500]).abs().max() > 1e-4


@pytest.mark.parametrize("halvings", [0, 1, 3])
def test_halvings_leave_every_2nd_4th_8th_frame(halvings):
    built = encoder(halvings=halvings)
    y, _ = built(waveform=sound(1, 37 * HOP))
    assert y.shape[1] == -(-37 // 2**halvings)


@pytest.mark.parametrize("causal", [False, True])
def test_every_parameter_has_a_gradient(causal):
    built = encoder(causal=causal).train()
    y, real = built(waveform=sound(2, 900), lengths=torch.tensor([900, 500]))
    (y * torch.randn_like(y))[real].sum().backward()
    assert [n for n, p in built.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


@pytest.mark.parametrize("causal", [False, True])
def test_half_precision_stays_within_its_rounding(causal):
    """Sound itself stays in float32: its spectrogram has a range of 16 nats. Five layers of bfloat16 round it then."""
    built, x = encoder(causal=causal).float(), sound(2, 900).float()
    want, _ = built(waveform=x)
    size = want.square().mean().sqrt()
    with torch.autocast("cpu", torch.bfloat16):
        lowered, _ = built(waveform=x)
    y, _ = built.to(torch.bfloat16)(waveform=x)
    assert y.dtype is torch.bfloat16
    assert (lowered.float() - want).square().mean().sqrt() / size < 0.05
    assert (y.float() - want).square().mean().sqrt() / size < 0.05


CHANGES = {"sample_rate": 1000, "num_mels": 5, "halvings": 1, "causal": True, "backbone": blocks(layers=1)}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_is_read(name):
    x = sound(1, 500)

    def out(**changes):
        torch.manual_seed(0)
        return encoder(**changes)(waveform=x)[0]

    usual, other = out(), out(**{name: CHANGES[name]})
    assert usual.shape != other.shape or (usual - other).abs().max() > 1e-6


def test_plans_survive_json_and_the_documented_one_is_read():
    assert from_dict(AudioEncoderConfig, json.loads(json.dumps(to_dict(config())))) == config()
    small = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "chunk_size": 16}
    plan = SpectralConfig(modality="audio", audio_sample_rate=8000, **small)
    assert plan.audio().sample_rate == 8000
    assert plan.audio().backbone == plan.backbone(causal=False)
    assert plan.audio(causal=True).backbone == plan.backbone(causal=True)
    assert plan.audio(causal=True).causal
    y, _ = SpectralAudioEncoder(plan)(waveform=sound(1, 900).float())
    assert y.shape == (1, 3, 16)
    with pytest.raises(ValueError, match="modality='vision', but this model reads sound; take modality='audio'"):
        SpectralAudioEncoder(SpectralConfig(modality="vision"))


def test_mistakes_are_answered():
    built = encoder()
    with pytest.raises(ValueError, match="recordings of no samples or frames at all"):
        built(waveform=sound(2, 0))
    with pytest.raises(ValueError, match="spectrograms of 5 bands, wanted num_mels=6"):
        built(mel=sound(2, 5, 30))
    with pytest.raises(ValueError, match="num_mels=0, halvings=2; wanted"):
        SpectralAudioEncoder(config(num_mels=0))
    with pytest.raises(ValueError, match="halvings=-1"):
        SpectralAudioEncoder(config(halvings=-1))
    with pytest.raises(ValueError, match="sample_rate=50; wanted"):
        SpectralAudioEncoder(config(sample_rate=50))
