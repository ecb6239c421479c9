"""Audits of models that are not ours, of parts of the audits, and of what a finding says."""

import math

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from tests.hf.tiny import tiny as hub_model
from tests.mutants.models import VOCAB, WithoutEmbedding, echo, tiny
from undula.audit.finding import Finding, above, at_most, failures, not_measured
from undula.audit.model_subject import vocabulary_of
from undula.audit.run import MODEL_AUDITS, audit_language_model
from undula.audit.subject import audited_copy, difference


def llama():
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    )


def gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=64))


@pytest.mark.parametrize("build", [llama, gpt2])
def test_models_of_others_pass(build):
    findings = {finding.name: finding for finding in audit_language_model(build())}
    assert failures(findings.values()) == []
    passed = {name for name, finding in findings.items() if finding.passed}
    assert set(MODEL_AUDITS) - passed == {"bounded state"}


def test_the_state_of_our_own_is_measured_through_its_cache_too():
    (finding,) = audit_language_model(hub_model("fft_conv"), audits=["bounded state"])
    assert finding.passed is True
    assert finding.value == 0
    assert "bytes" in finding.detail


def test_a_model_of_others_that_looks_ahead_is_caught():
    model = llama()
    for layer in model.model.layers:
        layer.self_attn.q_proj.register_forward_pre_hook(lambda module, args: (args[0].roll(-1, dims=1),))
    found = {f.name for f in failures(audit_language_model(model, audits=["prefix", "leak", "loss floor"]))}
    assert {"prefix", "leak"} <= found


def test_a_sequence_is_not_longer_than_the_context():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=8, n_layer=1, n_head=2, n_positions=23))
    assert failures(audit_language_model(model, audits=["prefix", "leak", "mixing", "streaming", "batch"])) == []


def test_chosen_audits_run_in_one_order():
    findings = audit_language_model(tiny(), audits=["batch", "prefix"])
    assert [finding.name for finding in findings] == ["prefix", "batch"]
    with pytest.raises(ValueError, match="unknown audit 'prefx'; did you mean 'prefix'?"):
        audit_language_model(tiny(), audits=["prefx"])


def test_the_number_of_tokens_is_found_or_asked_for():
    assert vocabulary_of(llama()) == vocabulary_of(tiny()) == VOCAB
    for silent in (WithoutEmbedding(ahead=False), echo):
        with pytest.raises(ValueError, match="does not tell how many tokens it knows; give vocab_size"):
            audit_language_model(silent)


def test_what_returns_no_scores_is_refused():
    with pytest.raises(ValueError, match="the model returned str; wanted scores"):
        audit_language_model(lambda ids: "yes", VOCAB)


def test_findings_say_on_which_side_they_fail():
    assert at_most("a", 1.0, 1.0, "").passed is True
    assert at_most("a", 1.1, 1.0, "").passed is False
    assert at_most("a", math.nan, 1.0, "").passed is False
    assert above("a", 1.0, 1.0, "").passed is False
    assert above("a", 1.1, 1.0, "").passed is True
    nothing = not_measured("a", "not claimed")
    assert nothing.passed is None
    assert math.isnan(nothing.value)
    bad = Finding(name="b", passed=False, value=1, limit=0, detail="")
    assert failures([nothing, bad, at_most("a", 0.0, 1.0, "")]) == [bad]


def test_differences_are_relative_and_infinite_where_nothing_can_be_said():
    one = torch.ones(2, 2)
    assert difference(one * 3, one * 2) == 0.5
    assert difference(one * 3, one * 2, scale=one * 10) == pytest.approx(0.1)
    assert difference(one, one[:1]) == math.inf
    assert difference(one * torch.nan, one) == math.inf
    assert difference(one, one * torch.inf) == math.inf
    assert difference(one, 0 * one) == math.inf
    assert difference(0 * one, 0 * one) == 0
    assert difference(one[:0], one[:0]) == 0


def test_the_audited_copy_opens_every_gate():
    model = nn.Sequential(nn.Linear(4, 4))
    nn.init.zeros_(model[0].weight)
    copy = audited_copy(torch.compile(model, backend="eager"))
    assert copy[0].weight.dtype is torch.float64
    assert copy[0].weight.std().item() == pytest.approx(0.25, rel=0.5)
    assert torch.equal(model[0].weight, torch.zeros(4, 4))
    assert not copy.training
