"""Causal linear attention against its definition: chunks, states, gradients, precision and memory."""

import itertools

import numpy as np
import pytest
import torch

from tests.reference.scan import causal_linear_attention as definition
from undula.ops import scan
from undula.ops.scan import causal_linear_attention, linear_attention


def draw(steps, features=3, width=5, dtype=torch.float64):
    shapes = [(2, 2, steps, features), (2, 2, steps, features), (2, 2, steps, width), (2, 2, features, width)]
    return [torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr(scan, "CHUNK", 4)


@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 4, 5, 8, 11])
@pytest.mark.usefixtures("short_chunks")
def test_equals_the_definition(steps, with_state):
    q, k, v, state = draw(steps)
    given = state if with_state else None
    out, last = causal_linear_attention(q, k, v, given)
    numbers = [t.detach().numpy() for t in (q, k, v, state)]
    want, want_last = definition(*numbers[:3], numbers[3] if with_state else None)
    np.testing.assert_allclose(out.detach().numpy(), want, atol=1e-12)
    np.testing.assert_allclose(last.detach().numpy(), want_last, atol=1e-12)


def test_the_chunk_in_use_equals_the_definition():
    q, k, v, _ = draw(2 * scan.CHUNK + 3)
    out, last = causal_linear_attention(q, k, v)
    want, want_last = definition(*(t.detach().numpy() for t in (q, k, v)))
    np.testing.assert_allclose(out.detach().numpy(), want, atol=1e-11)
    np.testing.assert_allclose(last.detach().numpy(), want_last, atol=1e-11)


@pytest.mark.usefixtures("short_chunks")
def test_gradients():
    assert torch.autograd.gradcheck(causal_linear_attention, draw(10), fast_mode=True)
    assert torch.autograd.gradcheck(causal_linear_attention, draw(3), fast_mode=True)


@pytest.mark.usefixtures("short_chunks")
def test_pieces_are_the_whole():
    q, k, v, state = draw(13)
    want, want_last = causal_linear_attention(q, k, v, state)
    for sizes in ([1] * 13, [5, 8], [4, 4, 5], [12, 1]):
        now, outputs = state, []
        for piece in zip(*(t.split(sizes, dim=2) for t in (q, k, v)), strict=True):
            out, now = causal_linear_attention(*piece, now)
            outputs.append(out)
        torch.testing.assert_close(torch.cat(outputs, dim=2), want, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(now, want_last, atol=1e-12, rtol=1e-12)


def test_every_query_sees_every_key():
    q, k, v, state = draw(6)
    out, total = linear_attention(q, k, v, state)
    want = torch.einsum("bntf,bnsf,bnse->bnte", q, k, v) + q @ state
    torch.testing.assert_close(out, want, atol=1e-12, rtol=0)
    torch.testing.assert_close(total, causal_linear_attention(q, k, v, state)[1], atol=1e-12, rtol=0)
    torch.testing.assert_close(linear_attention(q, k, v)[1], total - state, atol=1e-12, rtol=0)
    half = [t.bfloat16() for t in (q, k, v)]
    out, total = linear_attention(*half)
    assert (out.dtype, total.dtype) == (torch.bfloat16, torch.float32)


def test_nothing_given_changes_nothing():
    q, k, v, state = draw(0)
    out, last = causal_linear_attention(q, k, v, state)
    assert out.shape == (2, 2, 0, 5)
    assert torch.equal(last, state)


def test_half_precision_adds_up_in_single():
    """A running sum in bfloat16 stops growing at 256: 256 + 1 rounds to 256."""
    ones = torch.ones(1, 1, 1000, 1).bfloat16()
    out, last = causal_linear_attention(ones, ones, ones)
    assert out.dtype is torch.bfloat16
    assert last.dtype is torch.float32
    assert last.item() == 1000
    assert out[0, 0, -1].item() == 1000
    _, last = causal_linear_attention(ones[:, :, :1], ones[:, :, :1], ones[:, :, :1], last)
    assert last.item() == 1001
    with torch.autocast("cpu", torch.bfloat16):
        q, k, v, state = draw(70, dtype=torch.float32)
        mixed, kept = causal_linear_attention(q, k, v, state)
    exact, kept_exact = causal_linear_attention(q.double(), k.double(), v.double(), state.double())
    torch.testing.assert_close(mixed.double(), exact, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(kept.double(), kept_exact, atol=1e-4, rtol=1e-4)


def peak(steps, features, width):
    """Bytes alive at once in a forward and backward pass, from the allocator's own log."""
    q, k, v, _ = draw(steps, features, width, torch.float32)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        causal_linear_attention(q, k, v)[0].sum().backward()
    events = profile.profiler.kineto_results.events()
    log = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return max(itertools.accumulate(size for _, size in log))


def test_neither_all_pairs_nor_all_outer_products_exist():
    """Four heads of 2048 steps: pairs would take 64 MB, outer products of 32 features with 32 values 32 MB."""
    small, large = peak(1024, 32, 32), peak(2048, 32, 32)
    assert large < 24e6
    assert large < 2.1 * small
