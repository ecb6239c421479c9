"""Recipes of the Wave Transformer's enhancements, whole and in mid-curriculum: all audits that need no training."""

import pytest
import torch

from undula.audit.finding import failures
from undula.audit.run import MODEL_AUDITS, audit_language_model
from undula.models.language_model import build_language_model
from undula.recipes.catalogue import RECIPES
from undula.recipes.changes import changed

VOCAB = 23
ENHANCED = sorted(name for name in RECIPES if name.startswith("wave_") and name not in ("wave_gpt", "wave_lm"))


LIMITED = [name for name in ENHANCED if RECIPES[name]().model.freq_limit != "none"]


@pytest.mark.parametrize(("name", "limit"), [*((name, 1.0) for name in ENHANCED), *((name, 0.5) for name in LIMITED)])
def test_recipes_pass_their_audits(name, limit):
    torch.manual_seed(0)
    model = build_language_model(changed(RECIPES[name]().model, {"vocab_size": VOCAB}))
    if name in LIMITED:
        model.set_freq_limit(limit)
    findings = audit_language_model(model, VOCAB, audits=[audit for audit in MODEL_AUDITS if audit != "loss floor"])
    assert failures(findings) == []
    measured = {finding.name for finding in findings if finding.passed}
    assert {"prefix", "leak", "streaming", "streaming in float32", "padding", "batch", "silence"} <= measured
