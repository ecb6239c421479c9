"""The Wave Transformer as documented, between codecs of every kind."""

import inspect

import pytest
import torch
from torch import nn

from undula.models.config import BackboneConfig
from undula.models.token_codec import TokenDecoder, TokenEncoder
from undula.models.wave_transformer import WaveTransformer
from undula.wave import Wave

IDS = torch.tensor([[1, 4, 2, 9, 0, 3], [3, 3, 7, 10, 6, 5]])
CODEC = {"vocab_size": 11, "num_harmonics": 4, "d_model": 8, "num_heads": 2, "num_heads_kv": 2, "num_layers": 1}


def transformer(encoder=None, decoder=None, **changes):
    sizes = {"num_harmonics": 4, "transformer_num_layers": 2, "transformer_num_heads": 2, "transformer_heads_kv": 1}
    model = WaveTransformer(
        encoder or TokenEncoder(**CODEC), decoder or TokenDecoder(**CODEC), **{**sizes, "dropout": 0.0, **changes}
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.double().eval()


class Recorder(nn.Module):
    """Notes what it is called with; takes what `takes` names."""

    def __init__(self, encode):
        super().__init__()
        self.encode, self.seen = encode, {}

    def out(self, x, **seen):
        self.seen = seen
        return Wave.from_representation(x) if self.encode else x


class Told(Recorder):
    def forward(self, x, attention_mask=None, causal=True):
        return self.out(x, attention_mask=attention_mask, causal=causal)


class Untold(Recorder):
    def forward(self, x, attention_mask=None):
        return self.out(x, attention_mask=attention_mask)


def test_defaults_are_the_documented_ones():
    parameters = inspect.signature(WaveTransformer).parameters
    assert {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty} == {
        "num_harmonics": 64,
        "transformer_num_layers": 6,
        "transformer_num_heads": 8,
        "transformer_heads_kv": 4,
        "transformer_d_ff_multi": 4,
        "dropout": 0.1,
        "use_flash": True,
        "rotary": False,
        "backbone": None,
        "pyramid": None,
        "reduction": None,
    }
    forward = list(inspect.signature(WaveTransformer.forward).parameters)[1:6]
    assert forward == ["encoder_input", "causal", "return_encoder_outputs", "attention_mask", "plot_waves"]


def test_the_output_is_the_chain_of_its_parts():
    model = transformer()
    wave = model.wave_encoder(IDS)
    x = wave.to_representation()
    for layer in model.layers:
        x = layer(x)
    want = model.wave_decoder(model.norm_f(x))
    torch.testing.assert_close(model({"input_ids": IDS}), want, atol=1e-12, rtol=0)
    torch.testing.assert_close(model.forward_from_wave(wave), want, atol=1e-12, rtol=0)
    out, encoded = model({"input_ids": IDS}, return_encoder_outputs=True)
    assert torch.equal(encoded.frequencies, wave.frequencies)
    torch.testing.assert_close(out, want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("causal", [True, False])
def test_causal_and_the_mask_reach_both_codecs(causal):
    encoder, decoder = Told(True), Told(False)
    mask = torch.ones(2, 6)
    transformer(encoder, decoder)({"x": torch.randn(2, 6, 12).double()}, causal=causal, attention_mask=mask)
    for codec in (encoder, decoder):
        assert codec.seen["causal"] is causal
        assert codec.seen["attention_mask"] is mask


def test_codecs_that_take_neither_causal_nor_state_do():
    encoder, decoder = Untold(True), Untold(False)
    model, x = transformer(encoder, decoder), torch.randn(2, 6, 12).double()
    whole = model({"x": x}, causal=True)
    assert encoder.seen == decoder.seen == {"attention_mask": None}
    state, pieces = model.init_state(2), []
    for piece in x.split([2, 4], dim=1):
        y, state = model({"x": piece}, state=state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-10, rtol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rotary", [True, False])
def test_causal_hides_the_future_in_encoder_blocks_and_decoder(training, rotary):
    model = transformer(rotary=rotary).train(training)
    other = IDS.clone()
    other[:, 3:] = (other[:, 3:] + 1) % 11

    def run(ids, causal):
        torch.manual_seed(0)  # the same dropout in both
        return model({"input_ids": ids}, causal=causal)[:, :3]

    assert torch.equal(run(IDS, True), run(other, True))
    assert (run(IDS, False) - run(other, False)).abs().max() > 1e-4


def test_arguments_reach_the_blocks():
    model = transformer(transformer_heads_kv=2, transformer_d_ff_multi=3, dropout=0.3, use_flash=False, rotary=True)
    assert model.input_dim == 12
    for layer in model.layers:
        assert (layer.attn.n_heads, layer.attn.n_heads_kv) == (2, 2)
        assert layer.ffn.w1.out_features == 36
        assert layer.attn.dropout_p == layer.dropout.p == 0.3
        assert layer.attn.use_flash is False
        assert layer.attn.rotary_base == 10000.0
    assert transformer().layers[0].attn.rotary_base is None


def test_a_backbone_of_ones_own():
    config = BackboneConfig(d_model=12, num_layers=3, num_heads=2, mixers=("fft_conv",), d_ff=16)
    model = transformer(backbone=config)
    assert len(model.layers) == 3
    with pytest.raises(ValueError, match="backbone.d_model=12 is not 3 x num_harmonics=24"):
        transformer(num_harmonics=8, backbone=config)
    wave = torch.zeros(1, 5, 24)
    with pytest.raises(ValueError, match="got waves of 8 harmonics, 24 channels; wanted 4, 12"):
        transformer().forward_from_wave(wave)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="d_model=150 is not a multiple of n_heads=8"):
        transformer(num_harmonics=50, transformer_num_heads=8)
    with pytest.raises(ValueError, match="n_heads=2 is not a multiple of n_heads_kv=4"):
        transformer(transformer_heads_kv=4)


def test_streams_with_the_wave_shown():
    model = transformer(rotary=True)
    want, wave = model({"input_ids": IDS}, return_encoder_outputs=True)
    state, logits, phases = model.init_state(2), [], []
    for piece in IDS.split([1, 4, 1], dim=1):
        out, encoded, state = model({"input_ids": piece}, return_encoder_outputs=True, state=state)
        logits.append(out)
        phases.append(encoded.phases)
    torch.testing.assert_close(torch.cat(logits, dim=1), want, atol=1e-10, rtol=0)
    torch.testing.assert_close(torch.cat(phases, dim=1), wave.phases, atol=1e-10, rtol=0)


def test_pictures_of_every_layer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    transformer()({"input_ids": IDS}, plot_waves=True)
    names = {path.name: path.read_bytes()[:4] for path in tmp_path.iterdir()}
    assert names == dict.fromkeys(["wave_layer_0_input.png", "wave_layer_1.png", "wave_layer_2.png"], b"\x89PNG")
