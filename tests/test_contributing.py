"""The mixer of CONTRIBUTING.md, added in a file of its own, passes the contract; without its mask it does not."""

import importlib.util
import re
from pathlib import Path

import pytest

from undula.audit.finding import failures
from undula.audit.options import audit_options
from undula.audit.run import audit_language_model, audit_mixer
from undula.mixers.base import MIXERS, build_mixer
from undula.models.config import BackboneConfig, ModelConfig
from undula.models.language_model import build_language_model

DOCUMENT = Path(__file__).parents[1] / "CONTRIBUTING.md"
MASK = "x if attention_mask is None else torch.where(attention_mask.bool()[..., None], x, 0.0)"


def source():
    (block,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return block


@pytest.fixture
def added(tmp_path):
    """Return a function that adds the mixer from a temporary file; afterwards nobody knows it any more."""

    def add(text):
        path = tmp_path / "moving_average.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location("moving_average", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.MovingAverage

    yield add
    MIXERS.remove("moving_average")


def test_the_mixer_passes_the_contract(added):
    mixer = added(source())
    assert MIXERS["moving_average"] is mixer
    findings = audit_mixer(build_mixer("moving_average", 32, 4)) + audit_options("moving_average")
    assert failures(findings) == []
    claimed = {finding.name for finding in findings if finding.passed}
    assert {"prefix", "leak", "mixing", "streaming", "bounded state", "padding", "silence", "aliveness"} <= claimed


def test_a_model_of_it_passes_too(added):
    added(source())
    backbone = BackboneConfig(d_model=24, num_layers=2, num_heads=2, mixers=("moving_average", "attention"), d_ff=32)
    model = build_language_model(ModelConfig(vocab_size=31, backbone=backbone))
    assert failures(audit_language_model(model, audits=("prefix", "streaming", "padding"))) == []


def test_the_contract_finds_what_is_missing(added):
    assert source().count(MASK) == 1
    added(source().replace(MASK, "x"))
    assert [finding.name for finding in failures(audit_mixer(build_mixer("moving_average", 32, 4)))] == ["padding"]
