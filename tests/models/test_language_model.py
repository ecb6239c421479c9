"""Language models by configuration."""

import dataclasses

import pytest
import torch

from undula.mixers.attention import FlashAttention
from undula.mixers.fft_conv import FFTConv
from undula.models.config import BackboneConfig, CodecConfig, ModelConfig, PacketConfig
from undula.models.language_model import FAMILIES, build_language_model

BACKBONE = BackboneConfig(d_model=12, num_layers=2, num_heads=2, d_ff=16)
CODEC = CodecConfig(d_model=8, num_heads=2)


def config(family="plain", **changes):
    return dataclasses.replace(ModelConfig(family=family, vocab_size=11, backbone=BACKBONE, codec=CODEC), **changes)


def test_families():
    assert list(FAMILIES) == ["plain", "spectral", "spectral_llm", "wave", "wave_gpt"]


def test_the_plain_model_is_the_chain_of_its_parts():
    model = build_language_model(config()).eval()
    ids = torch.randint(11, (2, 5))
    want = model.head(model.backbone(model.embedding(ids)))
    assert torch.equal(model(ids), want)
    assert model(ids).shape == (2, 5, 11)


def test_a_wave_model_is_a_wave_transformer_with_positions():
    model = build_language_model(config("wave")).eval()
    assert model.transformer.num_harmonics == 4
    attentions = [part for part in model.modules() if isinstance(part, FlashAttention)]
    assert len(attentions) == 4
    assert {attention.rotary_base for attention in attentions} == {10000.0}
    ids = torch.randint(11, (2, 5))
    assert torch.equal(model(ids), model.transformer({"input_ids": ids}, causal=True))


@pytest.mark.parametrize("part", ["wave_encoder", "wave_decoder"])
def test_the_codec_is_the_configured_one(part):
    codec = CodecConfig(d_model=6, hidden_mult=2.0, num_layers=3, num_heads=1, mixer="fft_conv", dropout=0.3)
    stack = getattr(build_language_model(config("wave", codec=codec)).transformer, part).stack
    assert isinstance(stack.mixer, FFTConv)
    assert stack.mixer.d_model == 6
    assert stack.expand.out_features == 12
    assert len(stack.linears) == 3
    assert stack.dropout.p == 0.3
    none = CodecConfig(d_model=6, num_heads=0)
    assert getattr(build_language_model(config("wave", codec=none)).transformer, part).stack.mixer is None


def test_waves_of_each_family():
    ids = torch.tensor([[1, 4, 2]])
    assert build_language_model(config()).waves(ids) is None
    encoded = build_language_model(config("wave"))
    wanted = encoded.transformer.wave_encoder(input_ids=ids)
    assert torch.equal(encoded.waves(ids).to_representation(), wanted.to_representation())
    packets = build_language_model(config("wave_gpt"))
    wanted = packets.gpt.embedding.waves(ids)
    assert torch.equal(packets.waves(ids).to_representation(), wanted.to_representation())
    assert build_language_model(config("wave_gpt", packets=PacketConfig(num_waves=0))).waves(ids) is None


def test_at_the_start_every_token_is_about_as_likely():
    torch.manual_seed(0)
    for family in FAMILIES:
        model = build_language_model(config(family)).eval()
        ids = torch.randint(11, (4, 20))
        loss = torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), torch.randint(11, (80,)))
        assert loss.item() == pytest.approx(torch.tensor(11.0).log().item(), abs=0.2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (config("plane"), "unknown model family 'plane'; did you mean 'plain'?"),
        (config("wave", backbone=dataclasses.replace(BACKBONE, d_model=14)), "d_model=14 is not 3 x harmonics"),
        (config(backbone=dataclasses.replace(BACKBONE, num_heads=5)), "d_model=12 is not a multiple of n_heads=5"),
        (config("wave", codec=CodecConfig(d_model=9, num_heads=2)), "d_model=9 is not a multiple of n_heads=2"),
        (
            config(backbone=dataclasses.replace(BACKBONE, mixers=("fft_conv", "spectral_frames"))),
            "spectral_frames looks",
        ),
        (
            config("wave", codec=CodecConfig(mixer="spectral_frames")),
            "would read the answers.*Causal mixers: attention",
        ),
        (config("wave", codec=CodecConfig(mixer="atention")), "unknown mixer 'atention'; did you mean 'attention'?"),
    ],
)
def test_mistakes_are_answered_with_the_fix(changed, message):
    with pytest.raises(ValueError, match=message):
        build_language_model(changed)
