import pytest

from tests.data.outside import run_python
from undula.config import from_dict, to_dict
from undula.data.config import DataConfig
from undula.models.config import ModelConfig
from undula.training.config import TrainConfig


def test_a_config_survives_json():
    config = TrainConfig(name="a", trackers=("tensorboard",), data=DataConfig(block_size=32))
    assert from_dict(TrainConfig, to_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"accumulation": 0}, "accumulation=0"),
        ({"keep_checkpoints": 0}, "keep_checkpoints=0"),
        ({"seed": -1}, "seed=-1"),
        ({"model": ModelConfig(context_length=64)}, "block_size=256 is longer than model.context_length=64"),
    ],
)
def test_values_out_of_range_are_refused_by_name(values, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(name="a", **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "bfloat"}, "did you mean 'bfloat16'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"trackers": ("tracio",)}, "did you mean 'trackio'"),
    ],
)
def test_unknown_names_get_a_suggestion(values, message):
    # Without the type checker that watches the tests, which would be faster.
    code = "import ast, sys; from undula.training.config import TrainConfig\n"
    code += "try: TrainConfig(name='a', **ast.literal_eval(sys.argv[1]))\nexcept ValueError as error: print(error)"
    assert message in run_python(code, values)
