"""Every broken mixer is caught by the audit of what it breaks; a sound one passes them all."""

import pytest
import torch

from tests.mutants.mixers import MUTANTS, WIDTH, ByLength, DeadParameter, GrowingState, KeptByRank, Sound, WithinChunks
from undula.audit import causality
from undula.audit.finding import failures
from undula.audit.mixer_subject import MixerSubject
from undula.audit.options import audit_options
from undula.audit.run import MIXER_AUDITS, audit_mixer
from undula.mixers.base import MIXERS, Mixer


def test_a_sound_mixer_passes():
    findings = {finding.name: finding for finding in audit_mixer(Sound())}
    assert [name for name, finding in findings.items() if finding.passed is False] == []
    assert [name for name, finding in findings.items() if finding.passed is None] == ["both directions"]
    assert set(MIXER_AUDITS) < set(findings)


@pytest.mark.parametrize(("mutant", "audit"), MUTANTS, ids=[f"{m.__name__}-{a}" for m, a in MUTANTS])
def test_mutant_is_caught(mutant, audit):
    assert audit in [finding.name for finding in failures(audit_mixer(mutant()))]


def test_every_audit_has_a_mutant():
    assert {audit for _, audit in MUTANTS} == {*MIXER_AUDITS, "both directions"}


def test_a_fault_fails_what_it_breaks_and_nothing_else():
    dependence_on_length = ["prefix", "streaming", "streaming in float32", "padding"]
    assert [finding.name for finding in failures(audit_mixer(ByLength()))] == dependence_on_length
    assert [finding.name for finding in failures(audit_mixer(DeadParameter()))] == ["aliveness"]
    assert [finding.name for finding in failures(audit_mixer(GrowingState()))] == ["bounded state"]
    # Padding on the left shifts the chunks.
    assert [finding.name for finding in failures(audit_mixer(WithinChunks()))] == ["mixing", "padding"]


def test_what_is_not_claimed_is_neither_passed_nor_failed():
    findings = {finding.name: finding for finding in audit_mixer(WithinChunks())}
    for name in ("streaming", "streaming in float32", "bounded state", "both directions"):
        assert findings[name].passed is None
        assert findings[name].detail.startswith("not claimed")


def test_a_choice_by_rank_leaks_without_a_gradient():
    subject = MixerSubject(KeptByRank(), causal=True)
    with subject.training():
        assert causality._gradient_leak(subject) < 1e-12
        assert causality._change_leak(subject) > 1e-3


class WithUnreadOption(Sound):
    """Takes two options and reads one."""

    def __init__(self, d_model, scale=1.0, sharpness=2.0):
        super().__init__(d_model)
        self.scale = scale

    @classmethod
    def build(cls, d_model, num_heads, *, scale: float = 1.0, sharpness: float = 2.0, mode: str = "soft") -> Mixer:
        return cls(d_model, scale, sharpness)

    def leave(self, y, x, real):
        return super().leave(self.scale * y, x, real)


@pytest.fixture
def registered():
    MIXERS.register("with_unread_option")(WithUnreadOption)
    yield "with_unread_option"
    MIXERS.remove("with_unread_option")


def test_an_option_that_nothing_reads_is_found(registered):
    found = {finding.name: finding.passed for finding in audit_options(registered)}
    assert found == {"option scale": True, "option sharpness": False, "option mode": None}
    assert {f.name: f.passed for f in audit_options(registered, others={"mode": "hard"})}["option mode"] is False


def test_the_audited_mixer_stays_as_it_is():
    mixer = Sound().train()
    before = {name: value.clone() for name, value in mixer.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    audit_mixer(mixer)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in mixer.state_dict().items())
    assert mixer.training
    assert mixer.rate.dtype is torch.float32
    assert [p.grad for p in mixer.parameters()] == [None] * 4


def test_a_mixer_that_breaks_the_interface_is_refused():
    class TwoOutputs(Sound):
        def forward(self, x, causal=True, attention_mask=None, *, state=None):
            return super().forward(x, causal, attention_mask, state=self.init_state(len(x), dtype=x.dtype))

    class NoState(Sound):
        def forward(self, x, causal=True, attention_mask=None, *, state=None):
            return super().forward(x, causal, attention_mask)

    with pytest.raises(ValueError, match="a mixer called without a state returned tuple; wanted the output alone"):
        audit_mixer(TwoOutputs())
    with pytest.raises(ValueError, match="NoState was given a state and did not return"):
        audit_mixer(NoState())


def test_the_width_of_mutants_is_the_width_they_say():
    assert Sound().d_model == WIDTH
