import math

import jaxtyping
import numpy as np
import pytest
import torch

from tests.reference import wave as reference
from undula.ops import wave


def parts(*lead, harmonics=6, top=20.0, dtype=torch.float64):
    f = torch.rand(*lead, harmonics, dtype=dtype) * top
    a = torch.rand(*lead, harmonics, dtype=dtype) + 0.1
    p = (torch.rand(*lead, harmonics, dtype=dtype) * 2 - 1) * math.pi
    return f, a, p


@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 5), (2, 3, 4)])
def test_synthesize_is_the_sum_for_every_leading_shape(lead):
    f, a, p = parts(*lead)
    t = torch.linspace(-1, 3, 17, dtype=torch.float64)
    got = wave.synthesize(f, a, p, t)
    np.testing.assert_allclose(got.numpy(), reference.synthesize(f, a, p, t), atol=1e-12)


def test_as_many_positions_as_times_are_not_mixed_up():
    f, a, p = parts(2, 7)
    t = torch.arange(7, dtype=torch.float64) / 7
    got = wave.synthesize(f, a, p, t)
    for s in range(7):
        torch.testing.assert_close(got[:, s], wave.synthesize(f[:, s], a[:, s], p[:, s], t))
    assert got.shape == (2, 7, 7)


def test_float32_is_exact_to_rounding_at_audio_frequencies():
    f, a, p = parts(harmonics=4, top=8000.0, dtype=torch.float32)
    t = torch.arange(0, 160000, 997, dtype=torch.float32) / 16000
    got = wave.synthesize(f, a, p, t)
    error = np.abs(got.double().numpy() - reference.synthesize(f, a, p, t)).max()
    direct = (a * torch.sin(2 * math.pi * f * t[:, None] + p)).sum(-1)
    assert got.dtype == torch.float32
    assert error < 3e-6
    assert np.abs(direct.double().numpy() - reference.synthesize(f, a, p, t)).max() > 1e-2


def test_half_types_are_computed_in_float32():
    f, a, p = (x.to(torch.bfloat16) for x in parts(top=2000.0))
    t = torch.arange(50, dtype=torch.float32) / 8000
    got = wave.synthesize(f, a, p, t)
    want = torch.from_numpy(reference.synthesize(f.double(), a.double(), p.double(), t)).to(torch.bfloat16)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, want)


def test_synthesize_is_differentiable_in_all_four():
    inputs = [x.requires_grad_() for x in (*parts(2), torch.rand(5, dtype=torch.float64))]
    assert torch.autograd.gradcheck(wave.synthesize, inputs)


def test_chunks_change_neither_values_nor_gradients(monkeypatch):
    t = torch.rand(23, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in parts(3)]
    whole = wave.synthesize(*inputs, t)
    grads = torch.autograd.grad(whole.square().sum(), inputs)
    monkeypatch.setattr(wave, "CHUNK_ELEMENTS", 18 * 4)
    pieces = wave.synthesize(*inputs, t)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-14)
    for got, want in zip(torch.autograd.grad(pieces.square().sum(), inputs), grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_memory_kept_for_backward_does_not_grow_with_harmonics_times_time(monkeypatch):
    monkeypatch.setattr(wave, "CHUNK_ELEMENTS", 4096)
    kept = []
    inputs = [x.requires_grad_() for x in parts(harmonics=64)]
    t = torch.rand(10_000, dtype=torch.float64)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        wave.synthesize(*inputs, t)
    assert sum(kept) < 10_000 * 64 / 10


def test_a_wave_of_no_harmonics_is_silence():
    nothing = torch.zeros(2, 0)
    assert torch.equal(wave.synthesize(nothing, nothing, nothing, torch.arange(3.0)), torch.zeros(2, 3))


def test_sequence_matches_numerical_integration():
    f, a, p = parts(5, harmonics=3, top=3.0)
    got = wave.synthesize_sequence(f, a, p, samples_per_step=8, sample_rate=16.0)
    want = reference.synthesize_sequence(f, a, p, 8, 16.0)
    np.testing.assert_allclose(got.numpy(), want, atol=1e-10)


def test_a_constant_sequence_is_the_sum_of_its_sinusoids():
    f, a, p = parts(2, 1, top=50.0)
    got = wave.synthesize_sequence(*(x.expand(2, 9, -1) for x in (f, a, p)), samples_per_step=16, sample_rate=100.0)
    t = torch.arange(9 * 16, dtype=torch.float64) / 100
    torch.testing.assert_close(got, wave.synthesize(f[:, 0], a[:, 0], p[:, 0], t), rtol=0, atol=1e-11)


def test_a_sequence_has_no_jumps_where_waves_put_side_by_side_have():
    f, a, p = parts(40, harmonics=1, top=2.0)
    a = torch.ones_like(a)
    got = wave.synthesize_sequence(f, a, p, samples_per_step=200, sample_rate=200.0)
    # At most f + half a turn of phase per step, 2 Hz + 0.5 Hz.
    assert got.diff().abs().max() <= 2 * math.pi * 2.5 / 200
    side_by_side = wave.synthesize(f, a, p, torch.arange(200, dtype=torch.float64) / 200).flatten()
    assert side_by_side.diff().abs().max() > 0.5


def test_sequence_is_differentiable_and_chunks_change_nothing(monkeypatch):
    inputs = [x.requires_grad_() for x in parts(4, harmonics=2)]

    def play(*wave_parts):
        return wave.synthesize_sequence(*wave_parts, samples_per_step=3, sample_rate=7.0)

    whole = play(*inputs)
    assert torch.autograd.gradcheck(play, inputs)
    monkeypatch.setattr(wave, "CHUNK_ELEMENTS", 6)
    torch.testing.assert_close(play(*inputs), whole, rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(play, inputs)


@pytest.mark.parametrize("samples", [1, 2])
def test_one_step_and_one_sample(samples):
    f, a, p = parts(1)
    got = wave.synthesize_sequence(f, a, p, samples_per_step=samples, sample_rate=10.0)
    want = wave.synthesize(f[0], a[0], p[0], torch.arange(samples, dtype=torch.float64) / 10)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_compiles_to_the_same_values(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    f, a, p = parts(2, 3, dtype=torch.float32)
    t = torch.rand(11)
    compiled = torch.compile(wave.synthesize, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(f, a, p, t), wave.synthesize(f, a, p, t))
