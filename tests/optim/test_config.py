import pytest

from undula.optim.config import OptimConfig


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
