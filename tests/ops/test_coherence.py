"""Phase coherence against the definition, and its attention by both ways, in tiles of every size."""

import itertools

import numpy as np
import pytest
import torch

from tests.reference import phase_coherent as reference
from undula.ops import coherence
from undula.ops.coherence import coherent_attention, is_complex, phase_coherence, wave_vectors


def a_case(batch=2, heads=4, shared=4, sets=1, queries=9, steps=9, harmonics=5, each=True):
    """Queries, keys, values, wave vectors, scales and weights in float64."""

    def some(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    q, k, v = some(batch, heads, queries, 6), some(batch, shared, steps, 6), some(batch, shared, steps, 6)
    return q, k, v, some(batch, sets, steps, 2 * harmonics), some(heads), some(heads if each else 1)


def by_definition(q, k, v, waves, scale, weight, modulus, causal, key_mask=None):
    """All scores at once."""
    (heads, queries), steps = q.shape[1:3], k.shape[2]
    k, v = (t.repeat_interleave(heads // t.shape[1], dim=1) for t in (k, v))
    c = phase_coherence(waves[:, :, steps - queries :], waves, modulus)
    score = scale[:, None, None] * q @ k.mT + weight[:, None, None] * c
    at, keys = torch.arange(steps - queries, steps)[:, None], torch.arange(steps)
    seen = ((keys <= at) if causal else torch.ones(queries, steps, dtype=torch.bool))[None, None]
    if key_mask is not None:
        seen = (seen & key_mask[:, None, None]) | (keys == at)
    out = score.masked_fill(~seen, -torch.inf).softmax(-1) @ v
    return out if key_mask is None else torch.where(key_mask[:, None, steps - queries :, None], out, 0.0)


def gap(got, want, inputs):
    """Largest difference of values and gradients."""
    along = torch.randn_like(want)
    pairs = [(y, *torch.autograd.grad(y, inputs, along)) for y in (got, want)]
    return max((a - b).abs().max().item() for a, b in zip(*pairs, strict=True))


@pytest.mark.parametrize("modulus", [False, True])
def test_coherence_equals_the_definition(modulus):
    phases, amplitudes = 9 * torch.randn(2, 6, 5, dtype=torch.float64), torch.randn(2, 6, 5, dtype=torch.float64)
    waves = wave_vectors(phases, amplitudes)
    got = phase_coherence(waves[0, :4], waves[1], modulus) / 5
    want = reference.coherence(
        *(t.numpy() for t in (phases[0, :4], phases[1], amplitudes[0, :4], amplitudes[1])), modulus
    )
    np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


def test_agreeing_phases_and_opposed_ones():
    phases = torch.randn(1, 7, dtype=torch.float64)
    here, there = wave_vectors(phases), wave_vectors(phases + torch.pi)
    assert phase_coherence(here, here, False).item() == pytest.approx(7)
    assert phase_coherence(here, there, False).item() == pytest.approx(-7)
    assert phase_coherence(here, there, True).item() == pytest.approx(7)
    assert phase_coherence(here, wave_vectors(phases + 1.0), True).item() == pytest.approx(7)


def test_the_modulus_has_a_finite_gradient_where_it_is_0():
    waves = torch.zeros(3, 8, requires_grad=True)
    phase_coherence(waves, waves, True).sum().backward()
    assert torch.equal(waves.grad, torch.zeros(3, 8))
    q, k, v, _, scale, weight = a_case()
    silent = torch.zeros(2, 1, 9, 10, dtype=torch.float64, requires_grad=True)
    out = coherent_attention(q, k, v, silent, scale, weight, modulus=True, causal=True)
    grads = torch.autograd.grad(out.sum(), [q, k, v, silent, scale, weight])
    assert all(g.isfinite().all() for g in grads)


@pytest.mark.parametrize("tile", [1, 40, 2**21])
@pytest.mark.parametrize("sets", [1, 4])
@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("modulus", [False, True])
def test_tiles_equal_the_definition(tile, sets, shared, modulus, each, monkeypatch):
    """Tiles of one row, of four, of everything in both samples; heads with own waves by kernel and in tiles."""
    monkeypatch.setitem(coherence.TILE_ELEMENTS, "cpu", tile)
    monkeypatch.setattr(coherence, "TILED_WIDTH", 6 if each else 32)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, :4] = False
    for causal, queries, real, fused in itertools.product((True, False), (9, 3, 1), (None, mask), (True, False)):
        inputs = a_case(shared=shared, sets=sets, queries=queries, each=each)
        how = {"modulus": modulus, "causal": causal, "key_mask": real}
        got = coherent_attention(*inputs, **how, fused=fused)
        assert gap(got, by_definition(*inputs, **how), inputs) < 1e-11, how


@pytest.mark.parametrize("shared", [1, 2, 4])
def test_the_fused_kernel_and_tiles_compute_the_same(shared, monkeypatch):
    """A head's own waves take the kernel where they are narrow; shared ones do so away from CPUs, by the same lines."""
    inputs = a_case(shared=shared, sets=4)
    kernel, calls = coherence.sdpa, []
    monkeypatch.setattr(coherence, "sdpa", lambda *a, **k: (calls.append(a[0].shape[-1]), kernel(*a, **k))[1])
    fused, tiled = (coherent_attention(*inputs, modulus=False, causal=True, fused=f) for f in (True, False))
    assert calls == [6 + 10]
    assert gap(fused, tiled, inputs) < 1e-11
    monkeypatch.setattr(coherence, "TILED_WIDTH", 10)
    wide, tiled = (coherent_attention(*inputs, modulus=False, causal=True, fused=f) for f in (True, False))
    assert gap(wide, tiled, inputs) < 1e-11
    inputs = a_case(shared=shared)
    tiled = coherent_attention(*inputs, modulus=False, causal=True)
    assert len(calls) == 1
    q, k, v, waves, scale, weight = inputs
    joined = kernel(*coherence._joined(q * scale[:, None, None], k, v, waves, weight), causal=True, scale=1.0)
    assert gap(joined, tiled, inputs) < 1e-11


@pytest.mark.parametrize("modulus", [False, True])
@pytest.mark.parametrize("sets", [1, 4])
def test_dropout_drops_weights_and_their_gradients(modulus, sets):
    """With values of the identity the output is the weights: some are 0, the others 1 / (1 - p) as large."""
    q, k, _, waves, scale, weight = a_case(batch=1, sets=sets)
    v = torch.eye(9, dtype=torch.float64).expand(1, 4, 9, 9).clone().requires_grad_()
    how = {"modulus": modulus, "causal": True, "fused": False}
    whole = coherent_attention(q, k, v, waves, scale, weight, **how)
    torch.manual_seed(1)
    dropped = coherent_attention(q, k, v, waves, scale, weight, **how, dropout=0.25)
    kept = dropped != 0
    possible = torch.ones(9, 9).tril().bool()
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.75)
    assert 0.1 < 1 - kept[:, :, possible].double().mean() < 0.4
    want = whole * kept / 0.75
    inputs = (q, k, waves, scale, weight)
    assert gap(dropped, want, inputs) < 1e-11


def test_nothing_of_pairs_times_harmonics_is_kept():
    """What a backward pass holds is as long as the sequence, not as long squared."""
    q, k, v, waves, scale, weight = a_case(batch=1, queries=300, steps=300)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        coherent_attention(q, k, v, waves, scale, weight, modulus=True, causal=True)
    assert 0 < max(kept) <= 300 * 4 * 10
    assert sum(kept) < 300 * 4 * 50


def test_single_precision_is_close_to_double():
    inputs = a_case(queries=64, steps=64, harmonics=20)
    single = [t.detach().float() for t in inputs]
    for modulus in (False, True):
        want = coherent_attention(*inputs, modulus=modulus, causal=True)
        got = coherent_attention(*single, modulus=modulus, causal=True)
        torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=0)


def test_half_precision_does_not_round_the_waves_of_tiles(monkeypatch):
    """Waves beside queries of half precision are as exact as waves apart from them."""
    monkeypatch.setattr(coherence, "TILED_WIDTH", 10)
    q, k, v, waves, scale, _ = (t.detach().float() for t in a_case(sets=4, queries=64, steps=64))
    half = [t.bfloat16() for t in (q, k, v)]
    weight = torch.full((4,), 9.0)
    joined, apart = (
        coherent_attention(*half, waves, scale, weight, modulus=False, causal=True, fused=f) for f in (True, False)
    )
    torch.testing.assert_close(joined, apart, atol=1e-2, rtol=1e-2)


def test_modes():
    assert [is_complex(mode) for mode in coherence.MODES] == [False, True]
    with pytest.raises(ValueError, match="unknown phase_coherence_mode 'cosin'; did you mean 'cosine'?"):
        is_complex("cosin")
