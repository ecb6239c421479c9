"""What gated convolutions do around their filters, against norms and products one after the other."""

import numpy as np
import pytest
import torch

from tests.reference.blocks import rms_norm as definition
from undula.ops.gate import normalised_product

ONES = np.ones(5)


def test_equals_the_definition_and_its_gradients():
    qkv = torch.randn(2, 3, 15, dtype=torch.float64, requires_grad=True)
    q, product, factor = normalised_product(qkv, 1e-3)
    assert factor is not None
    whole, keys, values = np.split(qkv.detach().numpy(), 3, axis=-1)
    np.testing.assert_allclose((q * factor).detach().numpy(), definition(whole, ONES, 1e-3), atol=1e-12)
    np.testing.assert_allclose(product.detach().numpy(), definition(keys, ONES, 1e-3) * values, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x: normalised_product(x, 1e-3), qkv)
    assert torch.autograd.gradcheck(lambda x: normalised_product(x, 1e-3)[1], qkv)
    with torch.no_grad():
        torch.testing.assert_close(normalised_product(qkv, 1e-3), (q, product, factor), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nothing_overflows_in_half_precision(dtype):
    """300 * 300 is beyond float16, whose largest number is 65504."""
    qkv = torch.tensor([[[300.0, -300.0, 300.0, 0.0, 300.0] * 3]], dtype=dtype)
    q, product, factor = normalised_product(qkv, 1e-6)
    assert factor is None
    assert q.dtype is product.dtype is dtype
    unit = torch.from_numpy(definition(qkv[0, 0, :5].double().numpy(), ONES))
    tolerance = {"atol": 0, "rtol": 2 * torch.finfo(dtype).eps}
    torch.testing.assert_close(q[0, 0].double(), unit, **tolerance)
    torch.testing.assert_close(product[0, 0].double(), unit * qkv[0, 0, :5].double(), **tolerance)


def test_silence_has_a_finite_gradient():
    qkv = torch.zeros(2, 3, 15, requires_grad=True)
    q, product, factor = normalised_product(qkv, 1e-6)
    assert factor is not None
    ((q * factor).sum() + product.sum()).backward()
    assert qkv.grad is not None
    assert torch.isfinite(qkv.grad).all()
