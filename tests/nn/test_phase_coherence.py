"""The module that gives the coherence of all pairs."""

import numpy as np
import pytest
import torch

from tests.reference.phase_coherent import coherence
from undula.nn.phase_coherence import PhaseCoherenceComputer


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mode", ["cosine", "complex"])
def test_equals_the_definition(mode, weighted):
    q, k = (torch.randn(2, 3, steps, 5, dtype=torch.float64) for steps in (4, 6))
    amps = [torch.randn(t.shape, dtype=torch.float64) if weighted else None for t in (q, k)]
    got = PhaseCoherenceComputer(5, mode, temperature=0.5)(q, k, *amps)
    assert got.shape == (2, 3, 4, 6)
    a, b = (torch.ones_like(t) if w is None else w for t, w in zip((q, k), amps, strict=True))
    for at in np.ndindex(2, 3):
        want = coherence(*(t[at].numpy() for t in (q, k, a, b)), mode == "complex") / 0.5
        np.testing.assert_allclose(got[at].numpy(), want, atol=1e-12)


def test_the_modulus_does_not_hear_a_turn_of_all_phases():
    """The cosine does: it is what tells waves in phase from waves in opposition."""
    q = torch.randn(1, 1, 4, 7, dtype=torch.float64)
    for mode, same in (("complex", True), ("cosine", False)):
        computer = PhaseCoherenceComputer(7, mode)
        change = (computer(q, q + 2.0) - computer(q, q)).abs().max().item()
        assert (change < 1e-12) is same


def test_phases_in_half_precision_are_compared_in_single():
    phases = torch.randn(1, 1, 8, 32).bfloat16()
    got = PhaseCoherenceComputer(32)(phases, phases)
    want = PhaseCoherenceComputer(32)(phases.double(), phases.double())
    torch.testing.assert_close(got.double(), want, atol=1e-6, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(PhaseCoherenceComputer(32)(phases, phases), got)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "num_harmonics=0 is not positive"),
        ((4, "sine"), "unknown phase_coherence_mode 'sine'; did you mean 'cosine'?"),
        ((4, "cosine", 0.0), "temperature=0.0 is not positive"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PhaseCoherenceComputer(*arguments)


def test_another_number_of_phases_is_refused():
    four, five = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 5)
    for pair in ((five, five), (four, five)):
        with pytest.raises(ValueError, match="got 5 phases, wanted num_harmonics=4 of them"):
            PhaseCoherenceComputer(4)(*pair)
