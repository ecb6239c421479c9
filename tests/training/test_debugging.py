"""Debug mode by environment."""

import pytest

from undula.training.debugging import debugging

NAMES = ("UNDULA_DEBUG", "SPECTRALLLM_DEBUG", "SPECTRALLLM_DISABLE_DEBUG")


@pytest.mark.parametrize(
    ("values", "on"),
    [
        ({}, False),
        ({"UNDULA_DEBUG": "1"}, True),
        ({"SPECTRALLLM_DEBUG": "1"}, True),
        ({"UNDULA_DEBUG": "0"}, False),
        ({"UNDULA_DEBUG": "1", "SPECTRALLLM_DISABLE_DEBUG": "1"}, False),
        ({"SPECTRALLLM_DEBUG": "1", "SPECTRALLLM_DISABLE_DEBUG": "0"}, True),
    ],
)
def test_disable_overrules(monkeypatch, values, on):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert debugging() is on
