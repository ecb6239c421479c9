"""What is made for Apple's GPUs is the same function with the same parameters; a CPU can tell."""

import math

import pytest
import torch
from torch import nn

from undula.nn.mps import MPSWaveletTransform, optimize_for_mps, setup_mps_optimizations
from undula.nn.wavelet import EnhancedWaveletTransform, WaveletTransform
from undula.ops.wavelet import MODES


class Halved(nn.Module):
    def __init__(self, transform):
        super().__init__()
        self.first = self.again = transform

    def forward(self, x):
        approx, details = self.first(x)
        return self.again.inverse(approx, [d / 2 for d in details])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["db1", "db4", "bior2.2"])
def test_same_function_parameters_and_gradients(name, mode):
    torch.manual_seed(3)
    model = nn.Sequential(Halved(EnhancedWaveletTransform(name, levels=2, mode=mode)), nn.Linear(3, 3)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x, before = torch.randn(2, 64, 3, dtype=torch.float64), dict(model.named_parameters())
    names = list(model.state_dict())
    want = model(x)
    gradients = torch.autograd.grad(want.square().sum(), before.values())
    same = optimize_for_mps(model)
    assert same is model
    assert isinstance(same[0].first, MPSWaveletTransform)
    assert same[0].first is same[0].again
    assert list(same.state_dict()) == names
    assert all(p is before[n] for n, p in same.named_parameters())
    assert not same[0].first.training
    got = same(x)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    for one, other in zip(torch.autograd.grad(got.square().sum(), before.values()), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    replaced = same[0].first
    assert optimize_for_mps(same)[0].first is replaced


def test_a_model_that_is_a_transform_is_replaced():
    x = torch.randn(1, 64, 2)
    given = WaveletTransform("sym4", levels=2)
    made = optimize_for_mps(given, device="cpu")
    assert isinstance(made, MPSWaveletTransform)
    torch.testing.assert_close(made(x)[0], given(x)[0], rtol=0, atol=1e-5)
    assert optimize_for_mps(made) is made


def test_no_operation_that_apples_gpus_lack():
    """float64 and writing in place on the device; the taps are cast before they move."""
    seen = set()

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if any(isinstance(a, torch.Tensor) and a.shape[-1:] == (50,) for a in args):
                seen.add(out.dtype)
            return out

    transform = MPSWaveletTransform("db4", levels=1, use_learned=False)
    with Watch():
        transform.inverse(*transform(torch.randn(1, 50, 2)))
    assert torch.float64 not in seen


def test_stats():
    transform = MPSWaveletTransform("db2", levels=2)
    assert math.isnan(transform.get_mps_stats()["success_rate"])
    approx, details = transform(torch.randn(1, 32, 2))
    assert torch.equal(transform.inverse_optimized(approx, details), transform.inverse(approx, details))
    with pytest.raises(ValueError, match="comes down to 3"):
        transform(torch.randn(1, 3, 2))
    stats = transform.get_mps_stats()
    assert (stats["total_calls"], stats["error_count"], stats["success_rate"]) == (4, 1, 0.75)
    assert (stats["wavelet_type"], stats["levels"], stats["using_optimized"]) == ("db2", 2, False)


def test_setup_changes_nothing_global():
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    found = setup_mps_optimizations()
    assert found["available"] == torch.backends.mps.is_available()
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (threads, matmul)
