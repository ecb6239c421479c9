"""Groups of channels: the same numbers and gradients as all channels in one go, in the same layout."""

import pytest
import torch

from undula.ops import channels, harmonics
from undula.ops.channels import by_channels
from undula.ops.fft import causal_conv


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(channels, "GROUP", 2)
    monkeypatch.setattr(channels, "LARGE", 1)


def arguments():
    torch.manual_seed(0)
    u = torch.randn(2, 9, 5, dtype=torch.float64).transpose(1, 2)
    state, decay = torch.randn(2, 5, 3, 2, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    others = torch.rand(5, 3, dtype=torch.float64), torch.randn(5, 3, 2, dtype=torch.float64)
    return [v.requires_grad_() for v in (u, state, decay, *others, torch.randn(5, dtype=torch.float64))]


def test_groups_give_the_same_numbers_and_gradients(small_groups, monkeypatch):
    values = arguments()
    grouped = harmonics.convolve(*values)
    weights = [torch.randn_like(part) for part in grouped]
    grads = torch.autograd.grad(grouped, values, weights)
    assert grouped[0].stride() == values[0].stride()
    monkeypatch.setattr(channels, "LARGE", 10**9)
    whole = harmonics.convolve(*values)
    want = torch.autograd.grad(whole, values, weights)
    for a, b in zip([*grouped, *grads], [*whole, *want], strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_only_what_is_asked_for_gets_a_gradient(small_groups):
    values = arguments()
    frozen = [values[0], None, *(v.detach() for v in values[2:])]
    y, _ = harmonics.convolve(*frozen)
    (y.square().sum()).backward()
    assert torch.autograd.gradcheck(lambda u: harmonics.convolve(u, *frozen[1:])[0], values[0])


def test_groups_take_their_channels_of_every_tensor(small_groups):
    calls = []

    def add(u, h):
        calls.append((tuple(u.shape), tuple(h.shape)))
        return (u + h[:, None],)

    u, h = torch.randn(2, 5, 7), torch.randn(5)
    (y,) = by_channels(add, 1, u, h)
    assert torch.equal(y, u + h[:, None])
    assert calls == [((2, 2, 7), (2,)), ((2, 2, 7), (2,)), ((2, 1, 7), (1,))]


def test_a_long_convolution_in_groups_differentiates(small_groups):
    u = torch.randn(2, 5, 7, dtype=torch.float64, requires_grad=True)
    h = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(causal_conv, (u, h))
