"""One configuration, nested in Hugging Face's, with nothing said twice."""

import json

import pytest
from transformers import AutoConfig

from tests.hf.tiny import CONFIGS, plain
from undula.hf.configuration import DERIVED, UndulaConfig
from undula.models.config import ModelConfig


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_configuration_is_the_same(name, tmp_path):
    UndulaConfig(model=CONFIGS[name], eos_token_id=3).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is UndulaConfig
    assert (loaded.model_config, loaded.eos_token_id) == (CONFIGS[name], 3)


def test_saved_folder_writes_every_default_out_and_nothing_derived(tmp_path):
    UndulaConfig(model={"vocab_size": 300}).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["model"]["backbone"]["d_ff"] == 344
    assert saved["model_type"] == "undula"
    assert set(saved) & set(DERIVED) == set()


def test_sizes_are_read_from_the_model():
    config = UndulaConfig(model=plain("attention", "attention", context_length=99))
    sizes = [getattr(config, name) for name in DERIVED]
    assert sizes == [41, 24, 2, 4, 99]
    config.model["backbone"]["d_model"] = 48
    assert config.hidden_size == 48


def test_no_limit_of_length_is_no_attribute():
    assert not hasattr(UndulaConfig(), "max_position_embeddings")


@pytest.mark.parametrize("name", DERIVED)
def test_derived_sizes_cannot_be_set(name):
    with pytest.raises(ValueError, match=f"{name}=7: {name} follows from the field `model`"):
        UndulaConfig(**{name: 7})


def test_default_is_the_default_model():
    assert UndulaConfig().model_config == ModelConfig()
    assert AutoConfig.for_model("undula") == UndulaConfig()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"backbone": {"d_modle": 8}}, "unknown key in model.backbone 'd_modle'; did you mean 'd_model'?"),
        ({"vocab_size": "many"}, "model.vocab_size: got 'many', wanted int"),
        ("attention", "model: got 'attention', wanted a ModelConfig"),
    ],
)
def test_wrong_model_is_refused(model, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        UndulaConfig(model=model)


def test_file_without_a_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "undula", "modle": {}}))
    with pytest.raises(ValueError, match="config.json has no key 'model', only model_type, modle"):
        AutoConfig.from_pretrained(tmp_path)
