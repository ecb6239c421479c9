"""Root mean square normalisation against its definition; values, gradients, precisions."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.reference.blocks import rms_norm as definition
from undula.ops.norm import rms_norm


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 3, 5, 6)])
def test_equals_the_definition_and_its_gradients(shape):
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, dtype=torch.float64, requires_grad=True)
    got = rms_norm(x, weight, 1e-3)
    want = definition(x.detach().numpy(), weight.detach().numpy(), 1e-3)
    np.testing.assert_allclose(got.detach().numpy(), want, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-3), (x, weight))


def test_equals_the_kernel_of_other_devices_where_channels_lie_apart():
    x = torch.randn(2, 6, 5, requires_grad=True)
    weight, probe = torch.randn(6, requires_grad=True), torch.randn(2, 5, 6)
    ours = rms_norm(x.transpose(1, 2), weight, 1e-6)
    theirs = F.rms_norm(x.transpose(1, 2), (6,), weight, 1e-6)
    torch.testing.assert_close(ours, theirs)
    got, want = (torch.autograd.grad((y * probe).sum(), (x, weight)) for y in (ours, theirs))
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_squares_do_not_overflow_in_half_precision(dtype):
    """300^2 = 90000 is beyond float16, whose largest number is 65504."""
    x = torch.tensor([300.0, -300.0, 300.0, 0.0], dtype=dtype)
    got = rms_norm(x, torch.ones(4, dtype=dtype), 1e-6)
    assert got.dtype is dtype
    want = definition(x.double().numpy(), np.ones(4))
    torch.testing.assert_close(got.double(), torch.from_numpy(want), atol=0, rtol=torch.finfo(dtype).eps)


def test_silence_has_a_finite_gradient():
    x = torch.zeros(3, 4, requires_grad=True)
    y = rms_norm(x, torch.ones(4), 1e-6)
    assert torch.equal(y, torch.zeros(3, 4))
    (g,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(g, torch.full((3, 4), 1e3), rtol=1e-4, atol=0)
