"""The documented sizes: their numbers, true counts, and that nothing changes them."""

import dataclasses
import inspect
from pathlib import Path

import pytest
import torch

from tests.contract.cases import moved
from undula.models.config import ModelConfig
from undula.models.spectral import SpectralLanguageModel
from undula.models.spectral_config import SpectralConfig
from undula.models.spectral_presets import PRESETS, create_spectral_lm, get_model_info, list_available_models

DOCUMENTED = {
    "tiny": (256, 1024, 6, 4, 16_384, 4096, 0.15),
    "small": (512, 2048, 12, 8, 65_536, 8192, 0.15),
    "base": (768, 3072, 12, 12, 131_072, 8192, 0.15),
    "medium": (1024, 4096, 24, 16, 200_000, 8192, 0.15),
    "large": (1536, 6144, 32, 24, 200_000, 8192, 0.18),
    "xlarge": (2048, 8192, 40, 32, 200_000, 8192, 0.20),
}
TOY = {"embed_dim": 8, "hidden_dim": 16, "num_heads": 2, "num_layers": 1}


def test_the_numbers_are_the_documented_ones():
    assert list_available_models() == list(DOCUMENTED)
    names = ("embed_dim", "hidden_dim", "num_layers", "num_heads", "max_seq_len", "chunk_size", "sparsity")
    assert {size: tuple(getattr(PRESETS[size], n) for n in names) for size in PRESETS} == DOCUMENTED


@pytest.mark.parametrize("size", DOCUMENTED)
def test_the_count_is_that_of_the_model(size):
    info = get_model_info(size)
    with torch.device("meta"):
        model = create_spectral_lm(size)
    count = sum(p.numel() for p in model.parameters())
    assert (info["params_estimate"], info["params_m"], info["params_b"]) == (count, count / 1e6, count / 1e9)
    sizes = dict(
        zip(("embed_dim", "hidden_dim", "num_layers", "num_heads", "max_seq_len"), DOCUMENTED[size], strict=False)
    )
    assert {**info, **sizes, "size": size, "vocab_size": 50257} == info
    assert len(info) == 10


@pytest.mark.parametrize("size", DOCUMENTED)
def test_all_of_a_preset_learns_from_a_window_of_128_tokens(size):
    """Its chunks of 4,096 and more are those of encoders: within a first chunk there is nothing to choose by."""
    torch.manual_seed(0)
    model = moved(create_spectral_lm(size, vocab_size=40, **TOY))
    model(torch.randint(40, (3, 128))).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_nothing_changes_a_preset():
    before = get_model_info("tiny")
    model = create_spectral_lm("tiny", vocab_size=11, max_seq_len=64, **TOY)
    assert (model.config.vocab_size, model.config.max_seq_len, model.config.hidden_dim) == (11, 64, 16)
    get_model_info("tiny")["vocab_size"] = 3
    assert get_model_info("tiny") == before
    with pytest.raises(TypeError):
        PRESETS["tiny"] = SpectralConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["tiny"].vocab_size = 11


def test_every_field_that_a_language_model_has_can_be_given():
    of_other_senses = {"modality", "vision_patch_size", "audio_sample_rate"}
    fields = {field.name for field in dataclasses.fields(SpectralConfig)} - of_other_senses
    assert set(inspect.signature(create_spectral_lm).parameters) == {"size", *fields}
    changes = {
        "layer_type": "hybrid",
        "use_rope": False,
        "tie_word_embeddings": False,
        "attention_every": 1,
        "dropout": 0.0,
    }
    model = create_spectral_lm("tiny", 11, 64, **TOY, **changes)
    assert model.config == dataclasses.replace(PRESETS["tiny"], vocab_size=11, max_seq_len=64, **TOY, **changes)


def test_mistakes_are_answered_with_the_fix():
    with pytest.raises(ValueError, match="unknown size 'bas'; did you mean 'base'"):
        create_spectral_lm("bas")
    with pytest.raises(ValueError, match="unknown size 'smal'; did you mean 'small'"):
        get_model_info("smal")
    with pytest.raises(TypeError, match="not_an_option"):
        create_spectral_lm("tiny", not_an_option=1)
    with pytest.raises(ValueError, match="hidden_dim=1024 is not a multiple of num_heads=7"):
        create_spectral_lm("tiny", num_heads=7)


def test_a_preset_is_plain_data_too():
    plan = PRESETS["tiny"].model()
    assert isinstance(plan, ModelConfig)
    assert (plan.family, plan.context_length, plan.embedding.width) == ("spectral", 16_384, 256)
    with torch.device("meta"):
        model = SpectralLanguageModel(plan)
    assert sum(p.numel() for p in model.parameters()) == get_model_info("tiny")["params_estimate"]


def test_the_document_says_the_true_sizes():
    text = (Path(__file__).parents[2] / "docs" / "spectral.md").read_text()
    for size in DOCUMENTED:
        info = get_model_info(size)
        numbers = [info["hidden_dim"], info["num_layers"], info["num_heads"], info["max_seq_len"]]
        row = [size, *(f"{number:,}" for number in numbers), f"{info['params_m']:,.0f} M"]
        assert f"| {' | '.join(row)} |" in text
