"""An audio codec as an ordinary Hugging Face model."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from undula.hf.audio import UndulaAudioCodec, UndulaAudioConfig

SIZES = {"num_harmonics": 4, "n_fft": 64, "hop_length": 16, "d_model": 8, "num_layers": 1, "sample_rate": 8000}


@pytest.fixture
def saved(tmp_path):
    model = UndulaAudioCodec(UndulaAudioConfig(model=SIZES)).eval()
    for p in model.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    model.save_pretrained(tmp_path)
    return model, tmp_path


@pytest.mark.parametrize("kind", [AutoModel, UndulaAudioCodec])
def test_a_saved_codec_is_the_same_when_loaded(saved, kind):
    model, folder = saved
    loaded, sound = kind.from_pretrained(folder), torch.randn(2, 300)
    assert isinstance(loaded, UndulaAudioCodec)
    assert not loaded.training
    # What is no tensor is computed anew, on a device without numbers: it has to be there, too.
    assert loaded.codec.encoder.full_scale == model.codec.encoder.full_scale
    assert loaded.codec.decoder.full_scale == model.codec.decoder.full_scale
    assert torch.equal(loaded(sound), model(sound))
    assert torch.equal(model(sound), model.codec(sound))
    lengths = torch.tensor([300, 170])
    assert torch.equal(model(sound, lengths), model.codec(sound, lengths))
    assert model(sound, lengths)[1, 170:].abs().max() == 0 < model(sound)[1, 170:].abs().max()
    assert loaded.codec.config == model.codec.config


def test_the_configuration_writes_every_default_out_and_knows_no_other_key(saved):
    values = json.loads((saved[1] / "config.json").read_text())
    assert values["model"] == AutoConfig.from_pretrained(saved[1]).model
    assert (values["model"]["num_harmonics"], values["model"]["mixer"]) == (4, "short_conv")
    with pytest.raises(ValueError, match="did you mean 'num_harmonics'"):
        UndulaAudioConfig(model={"num_harmonicz": 3})


def test_a_weight_that_is_missing_is_an_error(saved):
    path = saved[1] / "model.safetensors"
    weights = load_file(path)
    del weights["codec.encoder.filterbank.centre"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="1 missing weights, such as codec.encoder.filterbank.centre"):
        UndulaAudioCodec.from_pretrained(saved[1])
