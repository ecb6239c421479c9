"""Every broken language model is caught by the audit of what it breaks; sound ones pass them all."""

import pytest
import torch

from tests.mutants.models import (
    MODEL_MUTANTS,
    VOCAB,
    Around,
    NextToken,
    Packed,
    WithoutEmbedding,
    echo,
    oracle,
)
from undula.audit.finding import failures
from undula.audit.run import MODEL_AUDITS, audit_language_model


def audited(model, audits=MODEL_AUDITS):
    return {finding.name: finding for finding in audit_language_model(model, VOCAB, audits=audits)}


def test_a_sound_model_passes():
    findings = audited(Around())
    assert {name: f.passed for name, f in findings.items()} == dict.fromkeys(MODEL_AUDITS, True) | {"packing": None}


@pytest.mark.parametrize(("mutant", "audit"), MODEL_MUTANTS, ids=[f"{m.__name__}-{a}" for m, a in MODEL_MUTANTS])
def test_mutant_is_caught(mutant, audit):
    assert audited(mutant(), [audit])[audit].passed is False


def test_every_audit_has_a_mutant():
    assert {audit for _, audit in MODEL_MUTANTS} | {"packing"} == set(MODEL_AUDITS)


@pytest.mark.parametrize(("honour", "passed"), [("yes", True), ("refused", True), ("no", False)])
def test_packing_is_honoured_or_refused(honour, passed):
    finding = audited(Packed(honour), ["packing"])["packing"]
    assert finding.passed is passed
    assert ("packed rows are refused" in finding.detail) is (honour == "refused")


def test_a_model_that_hides_its_inputs_is_audited_by_changing_them():
    sound, seeing = audited(WithoutEmbedding(ahead=False)), audited(WithoutEmbedding(ahead=True))
    assert sound["leak"].passed is True
    assert "the model hides where its inputs enter" in sound["leak"].detail
    assert sound["silence"].passed is None
    assert [f.name for f in failures(seeing.values())] == ["leak", "train equals eval"]


def test_a_plain_function_is_audited_as_it_is():
    assert failures(audit_language_model(echo, VOCAB)) == []
    assert {"prefix", "leak"} <= {finding.name for finding in failures(audit_language_model(oracle, VOCAB))}
    unmeasured = [finding.name for finding in audit_language_model(echo, VOCAB) if finding.passed is None]
    assert {"loss floor", "train equals eval", "aliveness", "silence", "streaming", "padding"} <= set(unmeasured)


def test_a_leak_is_named_with_its_size():
    finding = audited(NextToken(), ["loss floor"])["loss floor"]
    assert finding.value > 0.1
    assert "ln 16 = 2.773" in finding.detail


def test_the_audited_model_stays_as_it_is():
    model = Around().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    audit_language_model(model, VOCAB, audits=("leak", "train equals eval", "aliveness", "loss floor"))
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.grad for p in model.parameters()} == {None}
