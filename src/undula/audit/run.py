"""The audits of a mixer and of a language model, all in one call."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import nn

from undula.audit import causality, isolation, numerics, streaming
from undula.audit.finding import Finding, not_measured
from undula.audit.loss_floor import loss_floor
from undula.audit.mixer_subject import MixerSubject
from undula.audit.model_subject import ModelSubject, vocabulary_of
from undula.audit.subject import Subject
from undula.mixers.base import Mixer
from undula.names import unknown_name

MIXER_AUDITS: dict[str, Callable[[Subject], Finding]] = {
    "prefix": causality.prefix,
    "leak": causality.leak,
    "mixing": causality.mixing,
    "streaming": streaming.streaming,
    "streaming in float32": streaming.streaming_float32,
    "bounded state": streaming.bounded_state,
    "padding": isolation.padding,
    "batch": isolation.batch,
    "silence": numerics.silence,
    "train equals eval": numerics.train_equals_eval,
    "aliveness": numerics.aliveness,
}

BOTH_WAYS = ("padding", "batch", "silence", "train equals eval")
"""Audits that a mixer also undergoes with causal=False."""

MODEL_AUDITS = (*MIXER_AUDITS, "packing", "loss floor")


def audit_mixer(mixer: Mixer) -> list[Finding]:
    """Return what was measured of a mixer: one finding for each property, claimed or not.

    A copy is measured, in float64 and with random parameters; the mixer stays as it is. A property that the mixer does
    not claim is reported as not claimed. Takes about a second at width 32.
    """
    with torch.random.fork_rng(devices=[]):
        forward = MixerSubject(mixer, causal=mixer.traits.causal)
        findings = [audit(forward) for audit in MIXER_AUDITS.values()]
        if not mixer.traits.bidirectional:
            return [*findings, not_measured("both directions", "not claimed: the mixer is causal only")]
        whole = MixerSubject(mixer, causal=False)
        findings.append(causality.both_directions(whole))
        if not mixer.traits.causal:
            return findings
        for name in BOTH_WAYS:
            found = MIXER_AUDITS[name](whole)
            renamed = {"passed": found.passed, "value": found.value, "limit": found.limit, "detail": found.detail}
            findings.append(Finding(name=f"{name}, both directions", **renamed))
        return findings


def audit_language_model(
    model: nn.Module | Callable[..., Any],
    vocab_size: int | None = None,
    *,
    audits: Collection[str] = MODEL_AUDITS,
) -> list[Finding]:
    """Return what was measured of a causal language model: one finding for each property, claimed or not.

    A copy on the processor is measured, in float64 and with random parameters (the loss floor: in float32, trained on
    from where the model stands); the model stays as it is.

    Args:
        model: a `LanguageModel` of ours, a causal model of Hugging Face's kind, any module, or any function; called
            with token ids (B, T), it returns scores (B, T, V) or an object that holds them as `.logits`. What a plain
            function does cannot be copied or trained: it is called as it is, and less is measured.
        vocab_size: number of tokens; by default what the model's configuration or embedding says.
        audits: names of the audits to run; all by default.

    Raises:
        ValueError: for an unknown audit, or a number of tokens that nothing tells.
    """
    for name in audits:
        if name not in MODEL_AUDITS:
            raise unknown_name("audit", name, MODEL_AUDITS)
    tokens = vocabulary_of(model) if vocab_size is None else vocab_size
    with torch.random.fork_rng(devices=[]):
        subject = ModelSubject(model, tokens)
        special: Mapping[str, Callable[[], Finding]] = {
            "packing": lambda: isolation.packing(subject),
            "loss floor": lambda: _loss_floor(model, tokens),
        }
        chosen = [name for name in MODEL_AUDITS if name in audits]
        return [special[name]() if name in special else MIXER_AUDITS[name](subject) for name in chosen]


def _loss_floor(model: nn.Module | Callable[..., Any], vocab_size: int) -> Finding:
    if isinstance(model, nn.Module):
        return loss_floor(model, vocab_size)
    return not_measured("loss floor", "not measured: a plain function cannot be trained")
