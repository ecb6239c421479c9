import math

import numpy as np
import torch

from undula.ops.phase import phase_of, wrap_phase


def test_wrapped_angles_are_the_same_within_half_a_turn():
    x = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    got = wrap_phase(x)
    assert got.abs().max() <= math.pi
    np.testing.assert_allclose(torch.exp(1j * got), torch.exp(1j * x), atol=1e-13)
    inside = x[x.abs() < math.pi]
    assert torch.equal(wrap_phase(inside), inside)


def test_phase_of_a_direction_of_any_length():
    angle = torch.linspace(-3.1, 3.1, 63, dtype=torch.float64)
    for length in (1e-6, 1.0, 1e6):
        got = phase_of(length * angle.sin(), length * angle.cos())
        np.testing.assert_allclose(got, angle, atol=1e-12)


def test_phase_has_no_seam_for_a_direction_that_learns_its_way_across_pi():
    target = torch.tensor(-3.0, dtype=torch.float64)
    direction = torch.tensor([math.sin(2.8), math.cos(2.8)], dtype=torch.float64, requires_grad=True)
    squashed = torch.tensor(math.atanh(2.8 / math.pi), dtype=torch.float64, requires_grad=True)
    for _ in range(200):
        for parameter, angle in ((direction, phase_of(*direction)), (squashed, math.pi * torch.tanh(squashed))):
            (grad,) = torch.autograd.grad(1 - torch.cos(angle - target), parameter)
            with torch.no_grad():
                parameter -= 0.1 * grad
    assert 1 - torch.cos(phase_of(*direction) - target) < 1e-6
    # pi tanh(x) has its seam in between, and the gradient fades before it.
    assert 1 - torch.cos(math.pi * torch.tanh(squashed) - target) > 1e-3


def test_phase_of_nothing_is_zero_with_finite_gradients():
    for size in (0.0, 1e-30, 1e-13):
        sine, cosine = (torch.full((3,), -size, requires_grad=True) for _ in range(2))
        angle = phase_of(sine, cosine)
        angle.sum().backward()
        assert torch.equal(angle, torch.zeros(3))
        assert torch.equal(sine.grad, torch.zeros(3))
        assert torch.equal(cosine.grad, torch.zeros(3))


def test_gradient_of_the_phase():
    angle = torch.linspace(-3, 3, 7, dtype=torch.float64)
    inputs = [(2 * angle.sin()).requires_grad_(), (2 * angle.cos()).requires_grad_()]
    assert torch.autograd.gradcheck(phase_of, inputs)
