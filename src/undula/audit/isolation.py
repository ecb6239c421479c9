"""Does padding, another document or another sample change anything?"""

import torch

from undula.audit.causality import seeded
from undula.audit.finding import Finding, at_most, not_measured
from undula.audit.model_subject import ModelSubject
from undula.audit.subject import LENGTH, Subject, difference

LEFT, RIGHT = 11, 7
"""Padded steps in the audited rows."""


def padding(subject: Subject) -> Finding:
    """Compare real positions of padded rows with the same rows unpadded; all values and gradients must be finite."""
    name = "padding"
    if not subject.claims.padding:
        return not_measured(name, "not claimed: takes no attention mask")
    steps = subject.steps(LENGTH)
    x = subject.inputs(5, steps)
    spans = [(0, steps), (LEFT, steps), (0, steps - RIGHT), (3, steps - 2), (0, 0)]
    mask = torch.zeros(len(spans), steps, dtype=torch.long)
    for row, (first, last) in enumerate(spans):
        mask[row, first:last] = 1
    with torch.no_grad():
        poisoned = subject.run(subject.padded(x, mask, poison=True), mask)
        alone = [subject.run(x[row : row + 1, a:b])[0] for row, (a, b) in enumerate(spans[:-1])]
    errors = [
        (difference(poisoned[row, a:b], want), f"positions {a} to {b - 1} of {steps} real")
        for row, ((a, b), want) in enumerate(zip(spans[:-1], alone, strict=True))
    ]
    if subject.claims.streaming:
        rows = [0, 1]
        given = subject.padded(x[rows], mask[rows], poison=True)
        with torch.no_grad():
            streamed, _ = subject.pieces(given, [LEFT + 3, 1, 1, steps - LEFT - 5], mask[rows])
        errors += [(difference(streamed[row, spans[row][0] :], alone[row]), "left padding, streamed") for row in rows]
    errors.append((_not_finite(subject, x, mask), "a row of nothing but padding: values and gradients finite"))
    worst, where = max(errors)
    return at_most(name, worst, subject.rounding, f"largest relative error against the unpadded row ({where})")


def _not_finite(subject: Subject, x: torch.Tensor, mask: torch.Tensor) -> float:
    """Inf when a value or a gradient of padded rows is not finite, else 0."""
    y = subject.run(subject.padded(x, mask, poison=False), mask)
    named = subject.parameters()
    grads = torch.autograd.grad(y.square().sum(), [p for _, p in named], allow_unused=True) if named else ()
    fine = all(t.isfinite().all() for t in (y, *grads) if t is not None)
    return 0.0 if fine else float("inf")


def batch(subject: Subject) -> Finding:
    """See that other samples of the batch change nothing, in evaluation and in training mode."""
    steps = subject.steps(LENGTH)
    x = subject.inputs(3, steps)
    changed = torch.cat([x[:1], subject.others(x[1:])])
    with torch.no_grad():
        y = subject.run(x)
        errors = [
            (difference(subject.run(changed)[:1], y[:1]), "in evaluation"),
            (difference(subject.run(x[:1]), y[:1]), "alone"),
        ]
        with subject.training():
            seeded()
            y = subject.run(x)
            seeded()
            errors.append((difference(subject.run(changed)[:1], y[:1]), "in training mode"))
    worst, where = max(errors)
    return at_most("batch", worst, subject.rounding, f"largest relative change by other samples ({where})")


def packing(subject: ModelSubject) -> Finding:
    """Compare documents packed in one row with the same documents alone; a model may refuse them instead."""
    name = "packing"
    if not subject.takes_packed():
        return not_measured(name, "not claimed: takes neither seq_idx nor cu_seq_lens")
    documents = [subject.inputs(1, n) for n in (13, 1, 17, 6)]
    with torch.no_grad():
        alone = torch.cat([subject.run(document) for document in documents], dim=1)
        try:
            packed = subject.run_packed(documents)
        except (ValueError, NotImplementedError) as refusal:
            return at_most(name, 0.0, subject.rounding, f"packed rows are refused: {refusal}")
    return at_most(name, difference(packed, alone), subject.rounding, "largest relative error against documents alone")
