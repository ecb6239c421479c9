"""SpectralLLM: every flag changes the model, faults of earlier ones, decoding."""

import dataclasses
import json

import pytest
import torch

from tests.contract.cases import moved
from undula.audit.run import audit_language_model
from undula.mixers.base import state_bytes
from undula.models.language_model import build_language_model
from undula.models.spectral_llm import SpectralLLM
from undula.models.spectral_llm_config import Config
from undula.nn.signal_embedding import HybridEmbedding, SpectralEmbedding

SMALL = {"vocab_size": 40, "embed_dim": 24, "hidden_dim": 32, "num_layers": 4, "num_heads": 2, "harmonic_bases": 4}


def small(**changes):
    return Config(**{**SMALL, "max_seq_length": 64, "wavelet_levels": 2, "dropout": 0.0, **changes})


def built(**changes):
    torch.manual_seed(0)
    return SpectralLLM(small(**changes))


def tokens(*shape):
    return torch.randint(40, shape, generator=torch.Generator().manual_seed(0))


EFFECTS = {
    "vocab_size": ({}, 50),
    "embed_dim": ({}, 32),
    "hidden_dim": ({}, 40),
    "num_heads": ({}, 4),
    "num_layers": ({}, 5),
    "max_seq_length": ({}, 32),
    "dropout": ({}, 0.5),
    "harmonic_bases": ({}, 5),
    "use_spectral_embedding": ({}, False),
    "spectral_embedding_ratio": ({}, 0.3),
    "use_signal_embed": ({}, True),
    "use_wavelet_attention": ({}, False),
    "use_fourier_convolution": ({}, False),
    "use_frequency_domain_attention": ({}, False),
    "use_stochastic_transform": ({}, True),
    "sampling_ratio": ({"use_stochastic_transform": True}, 1.0),
    "wavelet_type": ({}, "sym6"),
    "wavelet_levels": ({}, 3),
    "use_adaptive_basis": ({}, False),
    "wavelet_families": ({}, ("db4", "coif1")),
}
"""Another value of each field that describes the model, and what else is set."""

BESIDE = {
    "spectral_gap_analysis",
    "enable_evolution",
    "evolution_every",
    "evolution_population",
    "evolution_generations",
    "learning_rate",
    "weight_decay",
    "warmup_steps",
    "batch_size",
    "use_mps",
    "seq_length",
    "stride",
    "validate_sequences",
}
"""Fields of what is done with the model."""


def behaviour(**changes):
    """Shapes of all parameters, and outputs in both modes."""
    model = built(**changes)
    found = [(name, tuple(p.shape)) for name, p in model.named_parameters()]
    for mode in (False, True):
        torch.manual_seed(0)
        moved(model).train(mode)
        found.append(model(tokens(2, 30)).detach().numpy().tobytes())
    return found


def test_every_field_is_of_the_model_or_beside_it():
    assert {f.name for f in dataclasses.fields(Config)} == set(EFFECTS) | BESIDE


@pytest.mark.parametrize("name", EFFECTS)
def test_every_flag_changes_the_model(name):
    """use_wavelet_attention and most others changed nothing: the same parameters, whatever they were."""
    others, value = EFFECTS[name]
    assert behaviour(**others) != behaviour(**others, **{name: value})


def test_switches_name_the_layers():
    every = small(use_stochastic_transform=True).backbone().mixers
    assert every == ("wavelet_attention", "fft_conv", "spectral_gate", "stochastic_wavelet")
    off = dict.fromkeys(("use_wavelet_attention", "use_fourier_convolution", "use_frequency_domain_attention"), False)
    assert small(**off).backbone().mixers == ("attention",)
    assert isinstance(built().embedding, HybridEmbedding)
    assert isinstance(built(use_signal_embed=True).embedding, SpectralEmbedding)
    assert isinstance(built(use_spectral_embedding=False).embedding, torch.nn.Embedding)


def test_it_is_causal_and_streams():
    """The last token changed all 31 earlier scores, and independent tokens were predicted."""
    model = built(use_stochastic_transform=True, max_seq_length=1024)
    found = audit_language_model(model, 40, audits=["prefix", "leak", "streaming", "padding"])
    assert [f.name for f in found if not f.passed] == []


def test_plain_data_builds_the_same_model():
    model = moved(built()).eval()
    twin = build_language_model(small().model()).eval()
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(tokens(1, 20)), model(tokens(1, 20)))


def test_scores_are_products_with_the_signals():
    model = moved(built()).double().eval()
    ids, features = tokens(2, 9), []
    model.backbone.norm_f.register_forward_hook(lambda module, args, y: features.append(y))
    torch.testing.assert_close(model(ids), features[0] @ model.embedding(torch.arange(40)[None])[0].T)
    assert not [name for name, _ in model.named_parameters() if "head" in name]


def test_each_step_computes_one_position_and_greedy_is_the_argmax():
    """Each token recomputed the whole text, and the end token was not minded."""
    model, ids, seen = moved(built()).double().eval(), tokens(2, 5), []
    want = ids
    for _ in range(9):
        want = torch.cat([want, model(want)[:, -1:].argmax(-1)], dim=1)
    model.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    assert torch.equal(model.generate(ids, 14, do_sample=False), want)
    assert seen == [5] + [1] * 8
    end = want[0, 6].item()
    stopped = model.generate(ids[:1], 14, do_sample=False, eos_token_id=end)[0].tolist()
    assert stopped == want[0, : want[0].tolist().index(end, 5) + 1].tolist()


def test_the_state_grows_with_the_logarithm_of_the_reach():
    sizes = []
    for levels in (1, 2, 3):
        model = built(use_fourier_convolution=False, use_frequency_domain_attention=False, wavelet_levels=levels)
        _, state = model(tokens(1, 60), state=model.init_state(1))
        sizes.append(sum(map(state_bytes, state)))
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0


# The configuration.

NESTED = {
    "model": {
        "embed_dim": 512,
        "num_layers": 8,
        "num_heads": 8,
        "use_wavelet_attention": True,
        "use_signal_embed": True,
        "use_stochastic_transform": True,
    },
    "training": {
        "batch_size": 16,
        "learning_rate": 1e-4,
        "weight_decay": 0.01,
        "warmup_steps": 1000,
        "use_mps": True,
        "enable_evolution": True,
    },
    "data": {"seq_length": 256, "vocab_size": 5000, "stride": 256, "validate_sequences": True},
}
"""The documented example."""


def test_nested_and_flat_data_are_the_same():
    """Nothing could read the documented example, and what was written could not hold every flag."""
    nested = Config.from_dict(NESTED)
    flat = {key: value for section in NESTED.values() for key, value in section.items()}
    assert nested == Config.from_dict(flat)
    assert (nested.embed_dim, nested.batch_size, nested.vocab_size, nested.hidden_dim) == (512, 16, 5000, 3072)
    assert Config.from_dict(json.loads(json.dumps(nested.to_dict()))) == nested


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embed_dimm": 3}, "unknown key in Config 'embed_dimm'; did you mean 'embed_dim'"),
        ({"model": {"num_layer": 3}}, "unknown key in Config 'num_layer'; did you mean 'num_layers'"),
        ({"model": {"vocab_size": 3}, "data": {"vocab_size": 4}}, "vocab_size is given twice"),
        ({"num_layers": "four"}, "num_layers: got 'four', wanted int"),
        ({"num_layers": 0}, "num_layers=0; wanted at least 1"),
        ({"num_heads": 7}, "embed_dim=768 is not a multiple of 2 x num_heads=7"),
        ({"dropout": 1.0}, "dropout=1.0; wanted a probability"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        Config.from_dict(values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"harmonic_bases": 12}, "at most 11 frequencies for embed_dim=24"),
        ({"spectral_embedding_ratio": 1.0}, "spectral_ratio=1.0"),
        ({"wavelet_type": "db4x"}, "unknown wavelet 'db4x'"),
        ({"wavelet_families": ("bior2.2",)}, "orthogonal"),
    ],
)
def test_models_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        built(**changes)


def test_texts_that_are_too_long_and_tables_of_another_width():
    with pytest.raises(ValueError, match="got 65 tokens; wanted 1 to max_seq_length=64"):
        built()(tokens(1, 65))
    with pytest.raises(ValueError, match=r"got ids from 40 to 40; wanted 0 to 39 \(vocab_size=40\)"):
        built()(torch.full((1, 3), 40))
    with pytest.raises(ValueError, match="a prompt of 5 tokens and max_length=65"):
        built().generate(tokens(1, 5), 65)
    plan = small().model()
    wrong = dataclasses.replace(plan, embedding=dataclasses.replace(plan.embedding, width=6))
    with pytest.raises(ValueError, match="embedding.width=6 with d_model=24"):
        SpectralLLM(wrong)
