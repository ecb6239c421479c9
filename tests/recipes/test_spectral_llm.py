"""From the documented configuration to a run: every value of training is read, flat or in its sections."""

import pytest

from undula.config import to_dict
from undula.models.spectral_llm_config import Config
from undula.recipes.catalogue import RECIPES
from undula.recipes.spectral_llm import KEYS, SMALL, described, trained_as

VALUES = {"learning_rate": 2e-4, "weight_decay": 0.03, "warmup_steps": 7, "batch_size": 3, "seq_length": 48}


def value(config, dotted):
    found = to_dict(config)
    for key in dotted.split("."):
        found = found[key]
    return found


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", VALUES)
def test_every_value_of_training_is_read(name, nested):
    """Nothing read them: a run was trained with other numbers than its configuration said."""
    assert set(VALUES) == set(KEYS)
    section = "data" if name == "seq_length" else "training"
    plain = {name: VALUES[name]}
    config = Config.from_dict({section: plain, "model": {"num_layers": 2}} if nested else plain)
    run = RECIPES["spectral_llm"]()
    found = described(run, config)
    assert value(found, KEYS[name]) == VALUES[name]
    assert value(run, KEYS[name]) != VALUES[name]
    assert found.optim.min_learning_rate == pytest.approx(0.1 * found.optim.learning_rate)


def test_evolution_and_analysis_are_read():
    """evolution_population was a field that nothing read: 5 gave 20."""
    run = RECIPES["spectral_llm"]()
    fields = {"evolution_every": 30, "evolution_population": 5, "evolution_generations": 3}
    assert described(run, Config(**fields)).evolution == run.evolution
    found = described(run, Config(**fields, enable_evolution=True, spectral_gap_analysis=True))
    assert (found.evolution.every, found.evolution.population, found.evolution.generations) == (30, 5, 3)
    assert found.spectral_gap == 8
    assert (run.evolution.every, run.spectral_gap) == (0, 0)
    (rows,) = {str(options["wavelets"]) for options in found.model.backbone.mixer_options.values()}
    assert rows.startswith("[[0.68")


def test_the_model_and_what_the_configuration_does_not_say():
    run = RECIPES["spectral_llm"]()
    assert described(run, SMALL) == run
    found = described(run, Config(embed_dim=24, num_heads=2, num_layers=3, use_signal_embed=True))
    assert (found.model.backbone.d_model, found.model.backbone.num_layers, found.model.signal.share) == (24, 3, None)
    assert (found.steps, found.data.source, found.optim.betas) == (run.steps, run.data.source, run.optim.betas)
    assert found.model.context_length is None


def test_the_least_rate_is_a_share_of_the_peak():
    run = RECIPES["smoke"]()
    found = trained_as(run, {"learning_rate": 2e-3, "min_lr_ratio": 1.0})
    assert (found.optim.learning_rate, found.optim.min_learning_rate) == (2e-3, 2e-3)
    assert trained_as(run, {}) == run
    with pytest.raises(ValueError, match=r"min_lr_ratio=1.5; wanted a share of the peak"):
        trained_as(run, {"min_lr_ratio": 1.5})
