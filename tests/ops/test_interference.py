"""Interference in tiles against its definition pair by pair: values, gradients, late times, memory."""

import itertools

import numpy as np
import pytest
import torch

from tests.reference.interference import weights
from undula.ops import interference as tiles
from undula.ops.interference import energy_features, intensity_features, interference

B, N, S, W, E = 2, 2, 11, 3, 4


def draw(steps=S, dtype=torch.float64):
    """Amplitudes' logarithms, phases, frequencies and values."""
    shapes = [(B, N, steps, W)] * 3 + [(B, N, steps, E)]
    return [torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.fixture(params=[(32, 128), (3, 5)], ids=["one tile", "many tiles"])
def sizes(request, monkeypatch):
    monkeypatch.setattr(tiles, "QUERIES", request.param[0])
    monkeypatch.setattr(tiles, "KEYS", request.param[1])
    monkeypatch.setitem(tiles.TILE_ELEMENTS, "cpu", 200)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("causal", "queries"), [(True, S), (True, 4), (True, 1), (False, S)])
@pytest.mark.parametrize(("turning", "contrast"), [(True, 1.0), (True, 2.5), (False, 1.0), (False, 0.5)])
def test_equals_the_definition(turning, contrast, causal, queries, masked):
    loud, phase, frequency, v = draw()
    mask = torch.rand(B, S) < 0.7 if masked else None

    def run(loud, phase, frequency, v):
        return interference(
            loud.exp(),
            phase,
            v,
            frequency if turning else None,
            queries=queries,
            causal=causal,
            key_mask=mask,
            contrast=contrast,
        )

    out, total = run(loud, phase, frequency, v)
    numbers = [t.detach().numpy() for t in (loud.exp(), phase, frequency)]
    want = weights(
        *numbers[:2],
        numbers[2] if turning else None,
        queries,
        causal,
        None if mask is None else mask.numpy(),
        contrast,
    )
    np.testing.assert_allclose(total.detach().numpy(), want.sum(-1), atol=1e-12)
    np.testing.assert_allclose(out.detach().numpy(), want @ v.detach().numpy(), atol=1e-12)
    assert torch.autograd.gradcheck(run, (loud, phase, frequency, v), fast_mode=True)


@pytest.mark.parametrize("turning", [False, True])
def test_a_wave_meets_itself_with_weight_one(turning):
    loud, phase, frequency, _ = draw(300, torch.float32)
    each = torch.eye(300).expand(B, N, -1, -1)
    weight, _ = interference(loud.exp(), phase, each, 3 * frequency if turning else None)
    diagonal = weight.diagonal(dim1=-2, dim2=-1)
    assert (diagonal - 1).abs().max() <= (0 if turning else 1e-6)
    assert weight.min() >= 0
    assert weight.max() <= 1 + 1e-6
    assert weight.triu(1).abs().max() == 0


def test_silent_waves_have_finite_gradients():
    loud, phase, frequency, v = draw(dtype=torch.float32)
    out, _ = interference((loud - 95).exp(), phase, v, frequency)
    assert all(g.isfinite().all() for g in torch.autograd.grad(out.square().sum(), (loud, phase, frequency, v)))


def test_late_times_are_as_exact_as_early_ones():
    """A product of frequency and time in float32 is off by 1e-3 rad after 20,000 steps; in bfloat16 times collide."""
    steps, last = 20_000, 2
    f = torch.rand(1, 1, steps, W, dtype=torch.float64) * 3
    a, p = torch.rand_like(f) + 0.5, torch.randn_like(f)
    a, p, f = (t.float().double() for t in (a, p, f))
    v = torch.randn(1, 1, steps, 1, dtype=torch.float64) / steps**0.5
    exact, _ = interference(a, p, v, f, queries=last)
    single, _ = interference(a.float(), p.float(), v.float(), f.float(), queries=last)
    assert (single.double() - exact).abs().max() < 2e-6
    lag = torch.arange(steps - 1, -1, -1, dtype=torch.float64)[:, None]
    cos = torch.cos((f[0, 0, -1] - f[0, 0]) * lag + p[0, 0, -1] - p[0, 0])
    a_q, a_k = a[0, 0, -1], a[0, 0]
    weight = (a_q**2 + a_k**2 + 2 * a_q * a_k * cos).sum(-1) / (a_q + a_k).square().sum(-1)
    torch.testing.assert_close(exact[0, 0, -1, 0], weight @ v[0, 0, :, 0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("turning", [False, True])
def test_dropout_drops_the_same_weights_backward(turning):
    loud, phase, frequency, v = draw()

    def run(*t):
        torch.manual_seed(3)
        return interference(t[0].exp(), t[1], t[3], t[2] if turning else None, dropout=0.4)

    assert torch.autograd.gradcheck(run, (loud, phase, frequency, v), fast_mode=True)
    out, total = run(loud, phase, frequency, v)
    plain, whole = interference(loud.exp(), phase, v, frequency if turning else None)
    torch.testing.assert_close(total, whole)
    assert (out - plain).abs().max() > 0.1
    ones = torch.ones(1, 1, 400, 1)
    same = torch.ones(1, 1, 400, W)
    dropped, _ = interference(same, same, ones, same if turning else None, dropout=0.25)
    assert dropped[0, 0, 0].item() in (0.0, pytest.approx(4 / 3))
    assert (dropped[0, 0, :, 0] / torch.arange(1, 401))[200:].mean().item() == pytest.approx(1, abs=0.02)


def test_memory_grows_neither_with_waves_nor_with_pairs():
    def peak(waves, steps):
        a, p, f = (torch.rand(1, 4, steps, waves, requires_grad=True) for _ in range(3))
        v = torch.randn(1, 4, steps, 16)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as log:
            interference(a, p, v, f)[0].sum().backward()
        found = log.profiler.kineto_results.events()
        sizes = sorted((e.start_ns(), e.nbytes()) for e in found if e.name() == "[memory]")
        return max(itertools.accumulate(n for _, n in sizes)) / 2**20

    few, many = peak(8, 256), peak(32, 256)
    # The waves and their gradients take part of it: they grow with both.
    assert many < 12, "one tensor of 256 x 256 pairs x 32 waves x 4 heads is 32 MiB"
    assert peak(8, 512) < 2.2 * few


def test_features_multiply_to_intensities_and_energies():
    loud, phase, _, _ = (t.detach() for t in draw())
    a = loud.exp()
    a_q, a_k = a[:, :, :, None], a[:, :, None]
    between = phase[:, :, :, None] - phase[:, :, None]
    q, k = intensity_features(a, phase)
    assert q.shape[-1] == k.shape[-1] == 2 * W + 2
    torch.testing.assert_close(q @ k.mT, (a_q**2 + a_k**2 + 2 * a_q * a_k * between.cos()).sum(-1))
    q, k = energy_features(a)
    torch.testing.assert_close(q @ k.mT, (a_q + a_k).square().sum(-1))
