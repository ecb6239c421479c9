"""The audit of translators: sound ones pass, and each planted defect is found."""

import pytest
import torch
from torch import nn

from tests.hf.test_seq2seq import VOCABULARY, made
from undula.audit.finding import failures
from undula.audit.translator import audit_translator


@pytest.mark.parametrize("cross", ["landmarks", "attention"])
def test_sound_translators_pass(cross):
    model = made(cross, torch.float32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    findings = audit_translator(model, VOCABULARY)
    assert failures(findings) == []
    passed = {finding.name for finding in findings if finding.passed}
    assert {"leak", "prefix", "streaming", "padding", "batch", "loss floor", "source padding", "source read"} <= passed
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Spoilt(nn.Module):
    """A translator with a defect.

    Args:
        defect: `future`: reads what it is to write; `deaf`: reads the first half of the source; `unmasked`: reads
            padding.
    """

    def __init__(self, defect):
        super().__init__()
        self.model, self.defect = made(), defect
        self.config = self.model.config

    def forward(self, input_ids=None, attention_mask=None, decoder_input_ids=None, **options):
        if self.defect == "deaf":
            input_ids = torch.cat([input_ids[:, :11], torch.zeros_like(input_ids[:, 11:])], dim=1)
        if self.defect == "unmasked":
            attention_mask = None
        if self.defect == "future":
            decoder_input_ids = decoder_input_ids.roll(-1, dims=1)
        return self.model(input_ids, attention_mask, decoder_input_ids, **options)


@pytest.mark.parametrize(
    ("defect", "caught"), [("future", "leak"), ("deaf", "source read"), ("unmasked", "source padding")]
)
def test_planted_defects_are_found(defect, caught):
    findings = audit_translator(Spoilt(defect), VOCABULARY, audits=("leak",))
    assert caught in {finding.name for finding in failures(findings)}
    assert len(failures(findings)) == 1
