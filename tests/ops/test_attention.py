"""Softmax attention against its definition; masks, groups, widths and dropout."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.reference.attention import sdpa as definition
from undula.ops.attention import chosen_sdpa, sdpa

MASKS = {
    "none": None,
    "left": [[1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1]],
    "right": [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0]],
    "nothing real": [[1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]],
    "holes": [[1, 0, 1, 1, 0, 1, 1], [0, 1, 0, 0, 1, 0, 1]],
}


def qkv(heads=4, shared=2, queries=7, steps=7, width=6, value_width=6):
    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    return draw(2, heads, queries, width), draw(2, shared, steps, width), draw(2, shared, steps, value_width)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("mask", "causal", "queries", "shared"),
    list(itertools.product(MASKS, [True, False], [7, 3, 1], [4, 2, 1])),
)
def test_equals_the_definition(mask, causal, queries, shared, fused):
    q, k, v = qkv(shared=shared, queries=queries)
    key_mask = None if MASKS[mask] is None else torch.tensor(MASKS[mask], dtype=torch.bool)
    got = sdpa(q, k, v, causal=causal, key_mask=key_mask, fused=fused)
    numbers = [t.detach().numpy() for t in (q, k, v)]
    want = definition(*numbers, causal, None if key_mask is None else key_mask.numpy())
    np.testing.assert_allclose(got.detach().numpy(), want, atol=1e-12)
    assert all(g.isfinite().all() for g in torch.autograd.grad(got.sum(), (q, k, v)))


@pytest.mark.parametrize(("width", "value_width"), [(10, 3), (3, 10)])
def test_queries_and_values_may_have_different_widths(width, value_width):
    q, k, v = qkv(width=width, value_width=value_width)
    got = sdpa(q, k, v, causal=True)
    want = definition(*(t.detach().numpy() for t in (q, k, v)), True)
    np.testing.assert_allclose(got.detach().numpy(), want, atol=1e-12)
    assert torch.autograd.gradcheck(lambda *t: sdpa(*t, causal=True), (q, k, v), fast_mode=True)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("value_width", [6, 3])
def test_channels_that_lie_apart_still_take_the_fused_path(value_width, masked):
    """As a convolution leaves them, channels first: the bare call refuses the kernel and falls back in silence."""
    q, k, v = (t.float() for t in qkv(shared=4, value_width=value_width))
    v = v.transpose(-1, -2).contiguous().transpose(-1, -2)
    key_mask = torch.tensor(MASKS["left"], dtype=torch.bool) if masked else None
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        got = sdpa(q, k, v, causal=True, key_mask=key_mask)
    torch.testing.assert_close(got, sdpa(q, k, v, causal=True, key_mask=key_mask, fused=False))


def test_the_scale_is_the_one_given():
    q, k, v = qkv()
    got = sdpa(q, k, v, causal=True, scale=0.3)
    want = definition(*(t.detach().numpy() for t in (q, k, v)), True, scale=0.3)
    np.testing.assert_allclose(got.detach().numpy(), want, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("fused", [True, False])
def test_dropout_drops_weights_on_every_path(fused, masked):
    """Values of one: without dropout every output is 1; a dropped weight takes its share away, the rest grows."""
    q, k = (torch.zeros(1, 1, 2000, 4, dtype=torch.float64) for _ in range(2))
    v = torch.ones(1, 1, 2000, 4, dtype=torch.float64)
    mask = torch.ones(1, 2000, dtype=torch.bool) if masked else None
    assert torch.allclose(sdpa(q, k, v, causal=True, key_mask=mask, fused=fused), v, atol=1e-5)
    first = sdpa(q, k, v, causal=True, key_mask=mask, dropout=0.25, fused=fused)[0, 0, 0]
    last = sdpa(q, k, v, causal=True, key_mask=mask, dropout=0.25, fused=fused)[0, 0, 1000:, 0]
    # The first query has one weight: kept and divided by 0.75, or gone.
    assert first[0].item() == pytest.approx(4 / 3, abs=1e-5) or first[0].item() == 0
    assert last.mean().item() == pytest.approx(1, abs=0.01)
    assert last.std().item() == pytest.approx((0.25 / 0.75 / 1500) ** 0.5, rel=0.2)


def test_only_the_chosen_keys_are_seen():
    q, k, v = (torch.randn(2, 3, steps, 4, dtype=torch.float64) for steps in (5, 7, 7))
    allowed = torch.rand(2, 5, 7) < 0.5
    allowed[..., 0] = True
    scores = torch.where(allowed[:, None], q @ k.transpose(-1, -2) / 2, -torch.inf)
    torch.testing.assert_close(chosen_sdpa(q, k, v, allowed), scores.softmax(-1) @ v)
