"""Does the future reach the past, and does the past reach the future?"""

import torch
from torch import Tensor

from undula.audit.finding import Finding, above, at_most, not_measured
from undula.audit.subject import LENGTH, Subject, difference

LONG = 131
"""Steps of the sequence on which mixing is measured: prime, and beyond the usual chunks of up to 128."""

CUTS = (1, 2, 3, 5, 8, 12, 16, 17, 24, 32, 33, 36)
BOUNDARIES = (1, 2, 4, 8, 16, 32, 64, 128)
"""First positions of a second chunk."""

TOUCHED = 1e-9
"""Relative change of an output that counts as dependence: far above rounding, far below any use."""


def prefix(subject: Subject) -> Finding:
    """Compare f(x[:t]) with f(x)[:t] for every t: no dependence on the future, nor on the sequence's length."""
    name = "prefix"
    if not subject.claims.causal:
        return not_measured(name, "not claimed: the mixer is not causal")
    x = subject.inputs(2, subject.steps(LENGTH))
    whole = subject.run(x)
    errors = [(difference(subject.run(x[:, :t]), whole[:, :t], whole), t) for t in range(1, x.shape[1])]
    worst, t = max(errors)
    return at_most(name, worst, subject.rounding, f"largest relative error of f(x[:t]) against f(x)[:t], at t = {t}")


def leak(subject: Subject) -> Finding:
    """Measure the gradient of outputs before t with respect to inputs from t on, and what changing those inputs does.

    Both in evaluation and in training mode, the latter with the same noise.
    """
    name = "leak"
    if not subject.claims.causal:
        return not_measured(name, "not claimed: the mixer is not causal")
    errors = [(_gradient_leak(subject), "gradient"), (_change_leak(subject), "change")]
    with subject.training():
        errors += [
            (_gradient_leak(subject), "gradient in training mode"),
            (_change_leak(subject), "change in training mode"),
        ]
    measured = [(value, way) for value, way in errors if value is not None]
    worst, way = max(measured)
    unseen = "" if len(measured) == len(errors) else "; no gradients: the model hides where its inputs enter"
    return at_most(
        name, worst, subject.rounding, f"largest influence of later inputs on earlier outputs ({way}){unseen}"
    )


def _gradient_leak(subject: Subject) -> float | None:
    """Largest gradient from after each cut over the typical one from before; each row of the batch has its own cut."""
    steps = subject.steps(LENGTH)
    cuts = torch.tensor([cut for cut in CUTS if cut < steps])
    seeded()
    y, leaves = subject.run_from_leaves(subject.inputs(len(cuts), steps))
    if not leaves:
        return None
    before = torch.arange(steps) < cuts[:, None]
    weights = torch.randn(y.shape, generator=subject.generator, dtype=torch.float64).to(y.dtype) * before[..., None]
    grads = torch.autograd.grad(y, leaves, weights, allow_unused=True)
    dx = torch.cat([torch.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True)], dim=-1)
    return difference(dx[~before], torch.zeros_like(dx[~before]), dx[before])


def _change_leak(subject: Subject) -> float:
    """Largest change of outputs before a cut when everything after it is another; sees what gradients cannot."""
    steps = subject.steps(LENGTH)
    x = subject.inputs(2, steps)
    other = subject.others(x)
    seeded()
    y = subject.run(x)
    worst = 0.0
    for cut in (steps // 4, steps // 2, steps - 1):
        seeded()
        changed = subject.run(torch.cat([x[:, :cut], other[:, cut:]], dim=1))
        worst = max(worst, difference(changed[:, :cut], y[:, :cut], y))
    return worst


def mixing(subject: Subject) -> Finding:
    """See that each position depends on the one before it, also across the boundaries of chunks."""
    name = "mixing"
    steps = subject.steps(LONG)
    reached = [t for t in (*BOUNDARIES, steps - 1) if t < steps]
    y, changed = _changed_at(subject, steps, [t - 1 for t in reached])
    rows = torch.arange(len(reached))
    influence = _influence(changed[rows, reached], y[reached], y)
    last = _influence(changed[:, -1], y[-1:].expand(len(reached), -1), y)
    far = max((steps - t for t, seen in zip(reached, last, strict=True) if seen > TOUCHED), default=0)
    worst, t = min(zip(influence, reached, strict=True))
    return above(
        name,
        worst,
        TOUCHED,
        f"least influence of the input before a position (at t = {t}); wanted above the limit. "
        f"The last output of {steps} depends on inputs at least {far} steps back",
    )


def both_directions(subject: Subject) -> Finding:
    """See that with causal=False each position depends on the one after it."""
    name = "both directions"
    if not subject.claims.bidirectional:
        return not_measured(name, "not claimed: the mixer is causal only")
    steps = subject.steps(LONG)
    later = [t for t in (*BOUNDARIES, steps - 1) if t < steps]
    y, changed = _changed_at(subject, steps, later)
    seen = [t - 1 for t in later]
    influence = _influence(changed[torch.arange(len(later)), seen], y[seen], y)
    return above(name, min(influence), TOUCHED, "least influence of the input after a position; wanted above the limit")


def _changed_at(subject: Subject, steps: int, positions: list[int]) -> tuple[Tensor, Tensor]:
    """Outputs of a sequence, and of copies of it with the input at one position replaced."""
    x = subject.inputs(1, steps).repeat_interleave(len(positions) + 1, dim=0)
    rows, at = torch.arange(1, len(x)), torch.tensor(positions)
    x[rows, at] = subject.others(x[rows, at][:, None])[:, 0]
    with torch.no_grad():
        y = subject.run(x)
    return y[0], y[1:]


def _influence(changed: Tensor, y: Tensor, scale: Tensor) -> list[float]:
    return [difference(a, b, scale) for a, b in zip(changed, y, strict=True)]


def seeded() -> None:
    """Start the noise of training mode from one state, so that two runs differ in their inputs alone."""
    torch.manual_seed(0)
