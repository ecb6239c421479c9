"""Are values and gradients finite, alive, and the same in training and evaluation?"""

import math

import torch
from torch import nn

from undula.audit.causality import seeded
from undula.audit.finding import Finding, at_most, not_measured
from undula.audit.subject import LENGTH, Subject, difference

NOISE = ("dropout", "noise", "jitter")
"""Words in the names of attributes that set how random training mode is."""

DEAD = 1e-13
"""A gradient this much smaller than the largest one is rounding."""


def silence(subject: Subject) -> Finding:
    """Put zeros in and see that values and gradients are finite."""
    name = "silence"
    x = subject.inputs(2, subject.steps(LENGTH))
    y, leaves = subject.run_from_leaves(x, silent=True)
    if not leaves:
        return not_measured(name, "not measured: the model hides where its inputs enter")
    named = [("the input", leaf) for leaf in leaves] + subject.parameters()
    weights = torch.randn(y.shape, generator=subject.generator, dtype=torch.float64).to(y.dtype)
    grads = torch.autograd.grad(y, [t for _, t in named], weights, allow_unused=True)
    bad = [n for (n, _), g in zip(named, grads, strict=True) if g is not None and not g.isfinite().all()]
    count = (~y.isfinite()).sum().item()
    detail = f"outputs and gradients that are not finite: {count} values" + _listed(", gradients of ", bad)
    return at_most(name, count + len(bad), 0.0, detail)


def train_equals_eval(subject: Subject) -> Finding:
    """Compare training with evaluation mode, dropout and noise switched off."""
    name = "train equals eval"
    if subject.module is None:
        return not_measured(name, "not measured: a plain function has no modes")
    quiet = subject.converted(subject.dtype)
    if quiet.module is not None:
        _silence_noise(quiet.module)
    x = quiet.inputs(2, quiet.steps(LENGTH))
    with torch.no_grad():
        before = quiet.run(x)
        with quiet.training():
            seeded()
            trained = quiet.run(x)
    return at_most(name, difference(trained, before), quiet.rounding, "largest relative difference between the modes")


def aliveness(subject: Subject) -> Finding:
    """See that every parameter gets a finite gradient that is not zero."""
    name = "aliveness"
    named = subject.parameters()
    if not named:
        return not_measured(name, "not measured: no trained parameters")
    y = subject.run(subject.inputs(3, subject.steps(LENGTH)))
    weights = torch.randn(y.shape, generator=subject.generator, dtype=torch.float64).to(y.dtype)
    grads = torch.autograd.grad(y, [p for _, p in named], weights, allow_unused=True)
    sizes = [0.0 if g is None or not g.numel() else g.abs().max().item() for g in grads]
    largest = max((s for s in sizes if math.isfinite(s)), default=0.0)
    dead = [n for (n, _), s in zip(named, sizes, strict=True) if not math.isfinite(s) or s <= DEAD * largest]
    detail = f"of {len(named)} parameters, those without a finite gradient other than zero: {len(dead)}"
    return at_most(name, len(dead), 0.0, detail + _listed(", ", dead))


def _silence_noise(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        for key, value in list(vars(part).items()):
            if isinstance(value, float) and any(word in key.lower() for word in NOISE):
                setattr(part, key, 0.0)


def _listed(before: str, names: list[str]) -> str:
    if not names:
        return ""
    return before + ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
