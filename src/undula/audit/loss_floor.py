"""Can the model predict what cannot be predicted?"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undula.audit.causality import seeded
from undula.audit.finding import Finding, at_most, not_measured
from undula.audit.model_subject import ModelSubject
from undula.audit.subject import LENGTH, plain_copy

SYMBOLS = 16
"""Tokens that the random text is made of, at most: a leak is learnt the sooner, the fewer there are."""

ROWS, FRESH_ROWS = 8, 64
STEPS, FEWEST = 40, 8
BUDGET = 5e11
"""Floating-point operations that training may take; larger models take fewer steps."""

ERRORS = 5.0
"""Standard errors of the mean that chance is granted."""


def loss_floor(model: nn.Module, vocab_size: int) -> Finding:
    """Train a copy on independent uniform tokens, each seen once: nothing can do better than ln V on them.

    V counts the tokens in use. The loss is that of training on tokens not seen before, and of evaluation on further
    ones; a model below ln V by more than chance sees what it is asked for.
    """
    name = "loss floor"
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained or vocab_size < 2:
        return not_measured(name, "not measured: there is nothing to train")
    twin = plain_copy(model, torch.float32)
    subject = ModelSubject(twin, vocab_size, module=twin)
    symbols = torch.randperm(vocab_size, generator=subject.generator)[:SYMBOLS]
    length = subject.steps(LENGTH)
    work = 6.0 * ROWS * length * sum(p.numel() for p in trained)
    steps = int(min(STEPS, max(FEWEST, BUDGET // work)))
    losses = _train(subject, symbols, steps, length)
    with torch.no_grad():
        fresh = _losses(subject, symbols, FRESH_ROWS, length)
    floor = math.log(len(symbols))
    below = [(*_below(part, floor), kind) for part, kind in ((losses, "while training"), (fresh, "on fresh tokens"))]
    under, chance, kind = max(below, key=lambda b: b[0] - b[1])
    return at_most(
        name, under, chance, f"nats that the loss is below ln {len(symbols)} = {floor:.3f} after {steps} steps, {kind}"
    )


def _train(subject: ModelSubject, symbols: Tensor, steps: int, length: int) -> Tensor:
    """Return the losses of the rows of the last third of training, each before it was learnt from."""
    optimizer = torch.optim.Adam([p for _, p in subject.parameters()], lr=3e-3)
    rows = []
    seeded()
    with subject.training():
        for _ in range(steps):
            losses = _losses(subject, symbols, ROWS, length)
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            rows.append(losses.detach())
    return torch.cat(rows[-max(1, steps // 3) :])


def _losses(subject: ModelSubject, symbols: Tensor, rows: int, length: int) -> Tensor:
    """Return the mean loss of each of some new random rows, in nats, among the tokens in use."""
    drawn = torch.randint(len(symbols), (rows, length), generator=subject.generator)
    scores = subject.run(symbols[drawn])[:, :-1, symbols].double()
    return F.cross_entropy(scores.flatten(0, 1), drawn[:, 1:].flatten(), reduction="none").view(rows, -1).mean(1)


def _below(losses: Tensor, floor: float) -> tuple[float, float]:
    """Return how far the mean is below the floor, and how far chance alone may bring it."""
    return floor - losses.mean().item(), ERRORS * losses.std().item() / len(losses) ** 0.5 + 1e-6
