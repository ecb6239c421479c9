import pytest

from undula.optim.config import OptimConfig, WaveNativeConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("min_learning_rate", 2e-3),
        ("betas", (0.9, 1.0)),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("grad_clip", -1.0),
    ],
)
def test_values_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        OptimConfig(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("damping", 1.5), ("coherence_weight", -0.1), ("refresh", 0), ("rank", 0), ("rank", -3)]
)
def test_options_of_the_wave_native_optimizer_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        WaveNativeConfig(**{field: value})


def test_an_average_needs_damping():
    with pytest.raises(ValueError, match="damping=0 with adaptive=True"):
        WaveNativeConfig(damping=0.0, project_every=1, adaptive=True)


def test_an_unknown_optimizer_is_answered_with_the_nearest():
    config = OptimConfig()
    object.__setattr__(config, "kind", "wave_nativ")  # past the type checker that watches the tests
    with pytest.raises(ValueError, match=r"unknown kind of optimizer 'wave_nativ'; did you mean 'wave_native'\?"):
        config.__post_init__()
