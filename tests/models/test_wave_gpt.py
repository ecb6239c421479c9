"""Wave-Native GPT: its switches, its positions, its generation."""

import pytest
import torch

from tests.contract.cases import moved
from undula.mixers.base import MIXERS
from undula.models.config import BackboneConfig, ModelConfig, PacketConfig
from undula.models.language_model import build_language_model
from undula.models.wave_gpt import WaveGPT, WaveGPTConfig


def config(**changes):
    sizes = {"vocab_size": 23, "d_model": 16, "num_layers": 2, "num_heads": 2, "num_waves": 4, "block_size": 12}
    return WaveGPTConfig(**{**sizes, "dropout": 0.0, "num_harmonics": 2, **changes})


def ids(rows, steps, seed=0):
    return torch.randint(23, (rows, steps), generator=torch.Generator().manual_seed(seed))


OFF = {"use_interference_attention": False}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "interference"),
        (OFF, "attention"),
        ({**OFF, "hybrid_attention": True}, "cosine"),
        ({**OFF, "pure_wave_attention": True}, "pure_wave"),
        ({**OFF, "pure_wave_attention": True, "pure_wave_mode": "linear"}, "pure_wave_linear"),
        ({"model_type": "standard"}, "attention"),
    ],
)
def test_each_switch_chooses_its_mixer(changes, name):
    model = WaveGPT(config(**changes))
    assert [type(mixer) for mixer in model.mixers()] == [MIXERS[name]] * 2


def test_options_of_the_mixer_arrive():
    literal = moved(WaveGPT(config())).eval()
    evolved = WaveGPT(config(attention_options={"formulation": "evolved"})).eval()
    evolved.load_state_dict(literal.state_dict(), strict=False)
    assert (literal(ids(1, 9))[0] - evolved(ids(1, 9))[0]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="unknown option of mixer 'interference' 'formulatoin'"):
        WaveGPT(config(attention_options={"formulatoin": "evolved"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hybrid_attention": True}, "use_interference_attention and hybrid_attention are both on"),
        ({"pure_wave_kernel": "sigmiod"}, "unknown pure_wave_kernel 'sigmiod'; did you mean 'sigmoid'"),
        ({"model_type": "waves"}, "unknown model_type 'waves'; did you mean 'wave'"),
        ({"pure_wave_mode": "liner"}, "unknown pure_wave_mode 'liner'; did you mean 'linear'"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_a_sequence_beyond_the_block_is_refused_and_without_a_limit_taken():
    with pytest.raises(ValueError, match="got 13 tokens, more than block_size=12"):
        WaveGPT(config())(ids(1, 13))
    assert WaveGPT(config(block_size=None))(ids(1, 40))[0].shape == (1, 40, 23)


def test_layer_outputs_end_in_the_logits():
    model = WaveGPT(config())
    logits, loss, layers = model(ids(2, 7), return_layer_outputs=True)
    assert loss is None
    assert len(layers) == 3
    assert torch.equal(layers[0], model.embedding(ids(2, 7)))
    assert torch.equal(model.head(model.ln_f(layers[-1])), logits)


def test_a_standard_model_has_no_use_for_the_ratio():
    model = WaveGPT(config(model_type="standard"))
    assert torch.equal(model(ids(1, 5), standard_embed_ratio=0.7)[0], model(ids(1, 5))[0])


def test_generation_beyond_the_block_is_that_of_the_last_block():
    torch.manual_seed(1)
    model = moved(WaveGPT(config())).train()
    want = ids(2, 9)
    for _ in range(8):
        want = torch.cat([want, model.eval()(want[:, -12:])[0][:, -1:].argmax(-1)], dim=1)
    model.train()
    assert torch.equal(model.generate(ids(2, 9), 8, top_k=1), want)
    assert model.training


def test_generation_is_drawn_from_the_models_chances():
    torch.manual_seed(1)
    model, start = moved(WaveGPT(config())).eval(), ids(1, 4).expand(4000, 4)
    drawn = model.generate(start, 1, temperature=2.0, top_k=3, generator=torch.Generator().manual_seed(0))[:, -1]
    best, tokens = (model(start[:1])[0][0, -1] / 2).topk(3)
    shares = torch.stack([(drawn == token).float().mean() for token in tokens])
    torch.testing.assert_close(shares, best.softmax(-1), atol=0.03, rtol=0)
    with pytest.raises(ValueError, match="temperature=0"):
        model.generate(start, 1, temperature=0)


def wave_gpt(**packets):
    backbone = BackboneConfig(d_model=16, num_layers=1, num_heads=2, mixers=("attention",), d_ff=16)
    return ModelConfig(family="wave_gpt", vocab_size=23, backbone=backbone, packets=PacketConfig(**packets))


def test_the_share_of_the_table_is_kept_with_the_model():
    model = build_language_model(wave_gpt(annealed=True)).eval()
    model.standard_embed_ratio.fill_(0.25)
    assert torch.equal(model(ids(1, 6)), model.gpt(ids(1, 6), standard_embed_ratio=0.25)[0])
    twin = build_language_model(wave_gpt(annealed=True)).eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(ids(1, 6)), model(ids(1, 6)))


def test_a_model_that_is_not_annealed_has_no_table():
    model = build_language_model(wave_gpt())
    assert model.standard_embed_ratio is None
    assert not any(isinstance(part, torch.nn.Embedding) for part in model.modules())
    assert isinstance(build_language_model(wave_gpt(num_waves=0)).gpt.embedding, torch.nn.Embedding)


def test_counts_rank_the_masses():
    model = build_language_model(wave_gpt())
    counts = torch.arange(23)
    model.use_counts(counts)
    masses = model.gpt.embedding.masses
    assert masses.argmax().item() == 22
    assert masses.argmin().item() == 0
    build_language_model(wave_gpt(num_waves=0)).use_counts(counts)
    assert build_language_model(wave_gpt(num_waves=0)).harmonic_amplitudes() is None
    torch.testing.assert_close(model.harmonic_amplitudes().detach(), 1 / torch.arange(1.0, 5.0))
