"""The documented configuration: every field read, mistakes answered."""

import dataclasses

import pytest

from undula.models.backbone import build_block
from undula.models.spectral_config import LayerType, ModalityType, SpectralConfig

SMALL = {"vocab_size": 40, "embed_dim": 16, "hidden_dim": 32, "num_layers": 4, "num_heads": 4, "max_seq_len": 512}


def small(**changes):
    return SpectralConfig(**{**SMALL, "chunk_size": 16, "dropout": 0.0, **changes})


def test_names_are_as_good_as_members():
    assert small(layer_type="hybrid", modality="text") == small(layer_type=LayerType.HYBRID, modality=ModalityType.TEXT)
    assert small(layer_type="sparse").layer_type is LayerType.SPARSE
    assert [kind.value for kind in LayerType] == ["dense", "sparse", "moe", "multiscale", "hybrid", "adaptive"]
    assert [kind.value for kind in ModalityType] == ["text", "vision", "audio", "video"]


EFFECTS = {
    "vocab_size": ({}, 50),
    "embed_dim": ({}, 8),
    "hidden_dim": ({}, 64),
    "num_layers": ({}, 3),
    "max_seq_len": ({}, 256),
    "layer_type": ({}, "dense"),
    "sparsity": ({"layer_type": "sparse"}, 0.3),
    "num_heads": ({}, 2),
    "dropout": ({}, 0.1),
    "use_rope": ({"layer_type": "hybrid"}, False),
    "use_gradient_checkpointing": ({}, True),
    "tie_word_embeddings": ({}, False),
    "use_hierarchical_fft": ({"layer_type": "dense", "causal": False}, False),
    "use_adaptive_sparsity": ({}, False),
    "use_phase_aware": ({}, False),
    "use_cross_frequency": ({}, False),
    "chunk_size": ({}, 32),
    "use_moe": ({}, True),
    "num_experts": ({"use_moe": True}, 4),
    "num_active_experts": ({"use_moe": True}, 3),
    "attention_every": ({"layer_type": "hybrid"}, 2),
}
"""Another value of each field, and what it is read beside."""

SENSED = {"vision_patch_size", "audio_sample_rate"}
"""Read by encoders of images and sound."""


@pytest.mark.parametrize("name", EFFECTS)
def test_every_field_is_read(name):
    beside, value = EFFECTS[name]
    causal = beside.get("causal", True)
    given = {key: other for key, other in beside.items() if key != "causal"}
    before, after = small(**given), small(**{**given, name: value})
    assert before.model(causal=causal) != after.model(causal=causal)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kind", ["dense", "sparse", "adaptive", "multiscale", "moe", "hybrid"])
def test_phases_and_choices_change_what_is_learned(kind, causal):
    """Parameters that go: angles of filters everywhere; what frequencies say of each other, where any are chosen."""

    def parameters(**changes):
        blocks = [build_block(small(layer_type=kind, **changes).backbone(causal=causal), layer) for layer in range(4)]
        return sum(p.numel() for block in blocks for p in block.parameters())

    assert parameters(use_phase_aware=False) < parameters()
    choosing = kind in ("sparse", "adaptive")
    assert (parameters(use_cross_frequency=False) < parameters()) == choosing


def test_what_is_sensed_is_read_by_its_encoder():
    assert small(modality="vision", vision_patch_size=8).vision().patch_size == 8
    assert small(modality="video", vision_patch_size=8).video().frames.patch_size == 8
    assert small(modality="audio", audio_sample_rate=8000).audio().sample_rate == 8000
    with pytest.raises(ValueError, match="audio_sample_rate=0; wanted at least 1"):
        small(audio_sample_rate=0)


def test_no_field_is_forgotten():
    assert {field.name for field in dataclasses.fields(SpectralConfig)} == {*EFFECTS, *SENSED, "modality"}
    with pytest.raises(ValueError, match="modality='video', but this model reads tokens; take modality='text'"):
        small(modality="video").model()


def test_experts_are_a_matter_of_the_type_or_of_the_switch():
    assert small(layer_type="moe").backbone().mixture.experts == 8
    assert small(layer_type="sparse", use_moe=True).backbone().mixture.experts == 8
    assert small(layer_type="sparse").backbone().mixture.experts == 0


@pytest.mark.parametrize(("layers", "every", "attending"), [(8, 4, [3, 7]), (5, 2, [1, 3]), (2, 4, [1]), (1, 4, [0])])
def test_every_nth_layer_of_a_hybrid_attends_and_at_least_the_last(layers, every, attending):
    backbone = small(layer_type="hybrid", num_layers=layers, attention_every=every).backbone()
    mixers = [backbone.mixers[i % len(backbone.mixers)] for i in range(layers)]
    assert [i for i, name in enumerate(mixers) if name == "attention"] == attending


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "hidden_dim=32 is not a multiple of num_heads=5; change one of them"),
        ({"sparsity": 0.0}, "sparsity=0.0; wanted a share of the modes between 0 and 1"),
        ({"sparsity": 1.0}, "sparsity=1.0; wanted"),
        ({"dropout": 1.0}, "dropout=1.0; wanted a probability from 0 to below 1"),
        ({"num_layers": 0}, "num_layers=0; wanted at least 1"),
        ({"num_experts": 2, "num_active_experts": 3}, "num_active_experts=3 is more than num_experts=2"),
        ({"layer_type": "adaptiv"}, "unknown layer_type 'adaptiv'; did you mean 'adaptive'?"),
        ({"modality": "txt"}, "unknown modality 'txt'; did you mean 'text'?"),
        ({"layer_type": "sparse", "use_hierarchical_fft": False}, "layer_type='sparse' works in chunks"),
        ({"layer_type": "multiscale", "use_hierarchical_fft": False}, "layer_type='multiscale' works in chunks"),
        ({"sparsity": 0.02}, "sparsity=0.02; adaptive heads keep 0.12 to 0.45 of the modes"),
        ({"sparsity": 0.9}, "sparsity=0.9; adaptive heads keep 0.12 to 0.45 of the modes"),
    ],
)
def test_mistakes_are_answered_with_the_fix(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_an_unknown_field_is_an_error():
    with pytest.raises(TypeError, match="use_custom_kernels"):
        small(use_custom_kernels=True)
