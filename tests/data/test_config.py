import json

import pytest

from tests.data.outside import run_python
from undula.config import from_dict, to_dict
from undula.data.config import DataConfig


def test_round_trip_through_json():
    config = DataConfig(source="a.txt", tokenizer="bpe", vocab_size=300, split="tail", rest="dropped")
    assert from_dict(DataConfig, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"block_size": 0}, "block_size=0; wanted at least 1"),
        ({"max_bytes": 0}, "max_bytes=0; wanted at least 1 byte, or null"),
        ({"val_fraction": 0.0}, "val_fraction=0.0; wanted a share"),
        ({"val_fraction": 1.0}, "val_fraction=1.0; wanted a share"),
        ({"tokenizer": "bpe", "vocab_size": 256}, "vocab_size=256; a bpe tokenizer needs at least 257"),
    ],
)
def test_wrong_values_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**wrong)


def test_config_loads_no_torch():
    code = "import sys, undula.data.config; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    assert run_python(code) == "[]"


@pytest.mark.parametrize(
    ("field", "wrong", "near"),
    [("tokenizer", "bytes", "byte"), ("split", "document", "documents"), ("rest", "drop", "dropped")],
)
def test_unknown_names_are_refused_where_no_types_are_checked(field, wrong, near):
    code = f"""
from undula.data.config import DataConfig
try:
    DataConfig({field}={wrong!r})
except ValueError as error:
    print(error)
"""
    assert run_python(code) == f"unknown {field} {wrong!r}; did you mean {near!r}?"
