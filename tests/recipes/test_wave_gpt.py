"""Wave-Native GPT in its documented sizes; ablations that differ in exactly one factor."""

import dataclasses

import pytest

from undula.config import to_dict
from undula.models.language_model import build_language_model
from undula.models.size import parameter_count
from undula.recipes.changes import changed
from undula.recipes.wave_gpt import ABLATIONS, ALIASES, FACTORS, SIZES, STANDARD, ablated, wave_gpt

DOCUMENTED = {
    "small": (384, 8, 8, 48, 256, 16),
    "medium": (512, 10, 8, 64, 384, 24),
    "large": (768, 12, 12, 96, 512, 16),
}


def flat(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict) and key != "mixer_options":
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(one, two):
    a, b = dict(flat(to_dict(one))), dict(flat(to_dict(two)))
    return {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)} - {"name"}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_sizes_are_the_documented_ones(name):
    assert dataclasses.astuple(SIZES[name]) == DOCUMENTED[name]
    config = wave_gpt(name)
    assert config.model.backbone.mixer_options == {"interference": {"num_waves": DOCUMENTED[name][3]}}
    assert config.model.packets.num_harmonics == 4


def test_unknown_size():
    with pytest.raises(ValueError, match="unknown size 'smal'; did you mean 'small'"):
        wave_gpt("smal")


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_differs_from_its_parent_in_one_factor(name):
    ablation, base = ABLATIONS[name], wave_gpt("tiny")
    config = ablated(name, base)
    assert config.name == name
    if ablation.parent is None:
        assert differences(config, base) == set()
    else:
        found = differences(config, ablated(ablation.parent, base))
        assert found
        assert all(key.startswith(FACTORS[ablation.factor]) for key in found)
    assert parameter_count(changed(config.model, {"vocab_size": 31})) > 0


def test_every_pair_of_experiments_differs():
    base = wave_gpt("tiny")
    made = [dataclasses.replace(ablated(name, base), name="") for name in ABLATIONS]
    assert all(a != b for i, a in enumerate(made) for b in made[:i])


def test_documented_names_are_known():
    named = {"full_physics", "rgd_only", "qfe_only", "baseline", "pure_wave", "pure_wave_linear", "pure_wave_sigmoid"}
    assert named | {"pure_wave_exp", STANDARD} <= set(ABLATIONS)
    assert ablated("wave_baseline", wave_gpt("tiny")) == ablated("baseline", wave_gpt("tiny"))
    assert set(ALIASES.values()) <= set(ABLATIONS)


def test_changes_of_the_base_reach_every_experiment():
    base = changed(wave_gpt("tiny"), {"steps": 30, "model.packets.num_waves": 5})
    assert all(ablated(name, base).steps == 30 for name in ABLATIONS)
    assert ablated("annealed", base).annealing_steps == 10


def test_standard_is_the_tuned_transformer():
    config = ablated(STANDARD, wave_gpt("tiny"))
    model = build_language_model(changed(config.model, {"vocab_size": 31}))
    kinds = {type(mixer).__name__ for mixer in model.gpt.mixers()}
    assert (kinds, type(model.gpt.embedding).__name__) == ({"FlashAttention"}, "Embedding")


def test_unknown_experiment():
    with pytest.raises(ValueError, match="unknown experiment 'pure_waves'; did you mean 'pure_wave'"):
        ablated("pure_waves", wave_gpt("tiny"))
