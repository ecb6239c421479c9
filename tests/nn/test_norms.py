"""RMSNorm against its definition, in every precision."""

import numpy as np
import pytest
import torch

from tests.reference.blocks import rms_norm as definition
from undula.nn.norms import RMSNorm


def test_equals_the_definition_and_its_gradients():
    norm = RMSNorm(6, eps=1e-3).double()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    want = definition(x.detach().numpy(), norm.weight.detach().numpy(), 1e-3)
    np.testing.assert_allclose(norm(x).detach().numpy(), want, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x, w: torch.func.functional_call(norm, {"weight": w}, x), (x, norm.weight))


def test_starts_as_ones_with_the_documented_eps():
    norm = RMSNorm(4)
    assert norm.eps == 1e-6
    assert torch.equal(norm.weight, torch.ones(4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_squares_do_not_overflow_in_half_precision(dtype):
    """300^2 = 90000 is beyond float16, whose largest number is 65504."""
    x = torch.tensor([300.0, -300.0, 300.0, 0.0], dtype=dtype)
    got = RMSNorm(4).to(dtype)(x)
    assert got.dtype is dtype
    want = definition(x.double().numpy(), np.ones(4))
    torch.testing.assert_close(got.double(), torch.from_numpy(want), atol=0, rtol=torch.finfo(dtype).eps)


def test_silence_has_a_finite_gradient():
    x = torch.zeros(3, 4, requires_grad=True)
    y = RMSNorm(4)(x)
    assert torch.equal(y, torch.zeros(3, 4))
    (g,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(g, torch.full((3, 4), 1e3), rtol=1e-4, atol=0)
