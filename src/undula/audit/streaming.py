"""Is a sequence given in pieces the same as the whole one, and does the state keep its size?"""

import torch

from undula.audit.finding import Finding, at_most, not_measured
from undula.audit.subject import LENGTH, Subject, difference

EXACT, SINGLE = 1e-9, 1e-4
"""Relative error allowed in float64 and in float32."""


def streaming(subject: Subject) -> Finding:
    """Compare pieces of any sizes, and token by token, with the whole sequence, in float64."""
    name = "streaming"
    if not subject.claims.streaming:
        return not_measured(name, "not claimed: takes no state")
    steps = subject.steps(LENGTH)
    x = subject.inputs(2, steps)
    with torch.no_grad():
        whole = subject.run(x)
        errors = [(difference(subject.pieces(x, sizes)[0], whole), _said(sizes)) for sizes in _splits(steps)]
        twice = subject.continued_twice(x, steps // 2)
    if twice is not None:
        errors += [(difference(part, whole[:, steps // 2 :]), "one state continued twice") for part in twice]
    worst, sizes = max(errors)
    limit = max(EXACT, subject.rounding)
    return at_most(name, worst, limit, f"largest relative error of pieces against the whole, with {sizes}")


def streaming_float32(subject: Subject) -> Finding:
    """Compare token by token with the whole sequence, in float32."""
    name = "streaming in float32"
    if not subject.claims.streaming:
        return not_measured(name, "not claimed: takes no state")
    if subject.module is None:
        return not_measured(name, "not measured: a plain function has no parameters to convert")
    single = subject.converted(torch.float32)
    x = single.inputs(2, single.steps(LENGTH))
    with torch.no_grad():
        whole = single.run(x)
        pieces, _ = single.pieces(x, [1] * x.shape[1])
    return at_most(name, difference(pieces, whole), SINGLE, "largest relative error, token by token")


def bounded_state(subject: Subject) -> Finding:
    """Measure how much the state grows from half the sequence to all of it."""
    name = "bounded state"
    if not subject.claims.streaming or not subject.claims.bounded_state:
        return not_measured(name, "not claimed: the state grows with the sequence")
    steps = subject.steps(LENGTH)
    with torch.no_grad():
        _, sizes = subject.pieces(subject.inputs(1, steps), [1, steps // 2 - 1, 1, 1, steps - steps // 2 - 2])
    if not sizes:
        return not_measured(name, "not measured: the cache does not tell its size")
    half = sizes[1]
    return at_most(
        name,
        sizes[-1] - half,
        0.0,
        f"bytes that the state grew by: {half} after {steps // 2} steps, {sizes[-1]} after {steps}",
    )


def _said(sizes: list[int]) -> str:
    return "single steps" if set(sizes) == {1} else f"pieces of {', '.join(map(str, sizes))}"


def _splits(steps: int) -> list[list[int]]:
    """One piece, single tokens, a long and a short end, and mixed ones."""
    chosen = [[steps], [1] * steps, [1, steps - 1], [steps - 1, 1], [2, 3, 1, 1, 5, 8, 1, 16], [16, 16, 5], [13, 24]]
    return [sizes for sizes in chosen if sum(sizes) == steps and min(sizes) > 0]
