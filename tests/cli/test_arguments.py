"""Words of the command line, and YAML files, become typed values."""

import pytest

from undula.cli.arguments import read_yaml, split_overrides


def test_values_are_read_as_yaml():
    words = ["smoke", "optim.learning_rate=1e-3", "--out", "runs/a=b", "compile=true", "name=a=b", "x=[1, 2]", "y="]
    rest, values = split_overrides(words)
    assert rest == ["smoke", "--out", "runs/a=b"]
    assert values == {"optim.learning_rate": 0.001, "compile": True, "name": "a=b", "x": [1, 2], "y": ""}


def test_a_value_that_is_no_yaml():
    with pytest.raises(ValueError, match="steps: cannot be read as YAML"):
        split_overrides(["steps=[1"])


def test_yaml_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("steps: 7\noptim:\n  learning_rate: 3e-4\n")
    assert read_yaml(path) == {"steps": 7, "optim": {"learning_rate": 0.0003}}
    path.write_text("- a\n")
    with pytest.raises(ValueError, match="holds no keys"):
        read_yaml(path)
    with pytest.raises(FileNotFoundError, match="no configuration file"):
        read_yaml(tmp_path / "none.yaml")
