"""Attention with kernels of its own against the definition: blocks, masks, gradients, dropout and memory."""

import itertools

import numpy as np
import pytest
import torch

from tests.reference.pure_wave import KERNELS as DEFINITIONS
from undula.ops import kernel_attention as module
from undula.ops.attention import sdpa
from undula.ops.kernel_attention import KERNELS, elu_plus_one, kernel_attention, known_kernel

MASKS = {"none": None, "left": [[1] * 7, [0] * 3 + [1] * 4], "nothing real": [[1] * 7, [0] * 7]}


def draw(queries=7, steps=7, dtype=torch.float64):
    shapes = [(2, 2, queries, 3), (2, 2, steps, 3), (2, 2, steps, 5)]
    return [torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


def definition(q, k, v, kernel, causal, mask):
    """Weight by weight; a query that sees nothing gives zeros."""
    q, k, v = (t.detach().numpy() for t in (q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, n, t in itertools.product(*map(range, q.shape[:3])):
        here = k.shape[2] - q.shape[2] + t
        seen = [s for s in range(k.shape[2]) if (not causal or s <= here) and (mask is None or mask[b][s])]
        w = np.array([DEFINITIONS[kernel](q[b, n, t] @ k[b, n, s]) for s in seen])
        if seen:
            out[b, n, t] = w / w.sum() @ v[b, n, seen]
    return out


@pytest.mark.parametrize("block", [256, 3])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("mask", "causal", "queries"), list(itertools.product(MASKS, [True, False], [7, 4, 1])))
def test_equals_the_definition(monkeypatch, mask, causal, queries, kernel, block):
    monkeypatch.setattr(module, "BLOCK", block)
    q, k, v = draw(queries)
    key_mask = None if MASKS[mask] is None else torch.tensor(MASKS[mask], dtype=torch.bool)
    out = kernel_attention(q, k, v, KERNELS[kernel], causal=causal, key_mask=key_mask)
    np.testing.assert_allclose(out.detach().numpy(), definition(q, k, v, kernel, causal, MASKS[mask]), atol=1e-12)
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.sum(), (q, k, v)))


@pytest.mark.parametrize("block", [256, 3])
def test_gradients(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    assert torch.autograd.gradcheck(lambda *t: kernel_attention(*t, elu_plus_one, causal=True), draw(), fast_mode=True)


def test_the_exponential_is_a_softmax():
    q, k, v = draw()
    got = kernel_attention(q, k, v, torch.exp, causal=True)
    torch.testing.assert_close(got, sdpa(q, k, v, causal=True, scale=1.0), atol=1e-12, rtol=0)


def test_small_weights_keep_their_digits():
    """In single precision elu(-20) + 1 is 0: a row of such weights would be 0 / 0."""
    assert torch.nn.functional.elu(torch.tensor(-20.0)) + 1 == 0
    x = torch.tensor([-20.0, -1.0, 0.0, 3.0])
    torch.testing.assert_close(elu_plus_one(x), torch.tensor([2.0611536e-09, 0.36787944, 1, 4]), atol=0, rtol=1e-6)
    q, k, v = torch.full((1, 1, 2, 1), -20.0), torch.ones(1, 1, 2, 1), torch.tensor([[[[1.0], [3.0]]]])
    torch.testing.assert_close(kernel_attention(q, k, v, elu_plus_one, causal=True), torch.tensor([[[[1.0], [2.0]]]]))


@pytest.mark.parametrize("block", [4096, 512])
def test_dropout_drops_weights_after_the_division(monkeypatch, block):
    monkeypatch.setattr(module, "BLOCK", block)
    q, v = torch.zeros(1, 1, 2000, 4), torch.ones(1, 1, 2000, 4)
    leaf = v.clone().requires_grad_()
    out = kernel_attention(q, q, leaf, torch.sigmoid, causal=True, dropout=0.25)
    last = out[0, 0, 1000:, 0]
    assert last.mean().item() == pytest.approx(1, abs=0.01)
    assert last.std().item() == pytest.approx((0.25 / 0.75 / 1500) ** 0.5, rel=0.2)
    # The backward pass drops the weights that the forward pass dropped: out is linear in v.
    (grad,) = torch.autograd.grad(out.sum(), leaf)
    assert grad.sum().item() == pytest.approx(out.sum().item(), rel=1e-5)


def peak(steps):
    """Bytes alive at once in a forward and backward pass, from the allocator's own log."""
    q, k, v = draw(steps, steps, torch.float32)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        kernel_attention(q, k, v, elu_plus_one, causal=True).sum().backward()
    events = profile.profiler.kineto_results.events()
    log = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(itertools.accumulate(size for _, size in log))


def test_memory_is_that_of_one_block_of_queries():
    """One table of weights at 2048 steps, for the four heads, is 64 MB; a backward pass would keep several."""
    small, large = peak(1024), peak(2048)
    assert large < 80e6
    assert large < 2.2 * small


def test_an_unknown_kernel_is_answered_with_the_nearest():
    assert [known_kernel(name) for name in KERNELS] == ["elu_plus_one", "sigmoid", "exp"]
    with pytest.raises(ValueError, match="unknown kernel 'sigmoyd'; did you mean 'sigmoid'?"):
        known_kernel("sigmoyd")
