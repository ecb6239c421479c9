"""Half waves: amplitudes that do not depend on resolution, interpolated responses, resampling by definition."""

import numpy as np
import pytest
import torch
from scipy import fft as scipy_fft

from tests.reference import half_waves as reference
from undula.ops import half_waves as ops

WIDE = {"device": torch.device("cpu"), "dtype": torch.float64}


@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_amplitudes_are_those_of_scipy_and_of_the_mirrored_transform(size):
    x = np.random.default_rng(0).standard_normal((size, 3))
    got = (ops.analysis(size, size, **WIDE) @ torch.from_numpy(x)).numpy()
    want = scipy_fft.dct(x, axis=0) / size
    want[0] /= 2
    np.testing.assert_allclose(got, want, atol=1e-14)
    np.testing.assert_allclose(got, reference.series(x, size), atol=1e-14)
    back = ops.half_waves(size, size, **WIDE).T @ torch.from_numpy(got)
    np.testing.assert_allclose(back.numpy(), x, atol=1e-13)


def test_angles_of_long_tables_are_exact():
    table = ops.half_waves(3000, 2001, device=torch.device("cpu"), dtype=torch.float32)[-1]
    want = np.cos(np.pi * 2000 * (np.arange(3000) + 0.5) / 3000)
    np.testing.assert_allclose(table.numpy(), want, atol=2e-7)


@pytest.mark.parametrize("grid", [(3, 5), (4, 4), (1, 6)])
def test_an_image_is_the_sum_of_its_waves(grid):
    x = torch.randn(2, *grid, 3, dtype=torch.float64)
    a = ops.grid_amplitudes(x, *grid)
    want = scipy_fft.dctn(x.numpy(), axes=(1, 2)) / (grid[0] * grid[1])
    want[:, 0] /= 2
    want[:, :, 0] /= 2
    np.testing.assert_allclose(a.numpy(), want, atol=1e-14)
    back = ops.grid_samples(a[:, None, :, None], grid)
    torch.testing.assert_close(back, x, atol=1e-13, rtol=0)


def test_sines_and_cosines_down_and_across_stand_where_they_should():
    a = torch.randn(1, 2, 3, 2, 4, 2, dtype=torch.float64)
    got = ops.grid_samples(a, (5, 7))
    y, x = (np.pi * (np.arange(n) + 0.5) / n for n in (5, 7))
    want = np.zeros((5, 7, 2))
    for p, f in enumerate((np.cos, np.sin)):
        for q, g in enumerate((np.cos, np.sin)):
            for k in range(3):
                for m in range(4):
                    want += a[0, p, k, q, m].numpy() * (f(k * y)[:, None] * g(m * x))[..., None]
    np.testing.assert_allclose(got[0].numpy(), want, atol=1e-13)


def test_interpolation_is_bilinear_and_ends_at_its_limit():
    response = torch.randn(2, 1, 3, 4, 2, dtype=torch.float64)
    down = torch.tensor([0.0, 0.7, 2.0, 2.5, 3.0, 9.0], dtype=torch.float64)
    across = torch.tensor([0.25, 3.9], dtype=torch.float64)
    got = ops.interpolated(response, down, across)
    for i, f in enumerate(down.tolist()):
        for j, g in enumerate(across.tolist()):
            for p in range(2):
                want = [reference.hat(response[p, 0, ..., d].numpy(), f, g) for d in range(2)]
                np.testing.assert_allclose(got[p, i, 0, j].numpy(), want, atol=1e-14)
    assert got[:, 4:].abs().max() == 0


@pytest.mark.parametrize(
    ("grid", "counts"),
    [((8, 8), (8, 8)), ((64, 64), (16, 16)), ((16, 64), (8, 32)), ((1, 256), (1, 256)), ((1, 1), (1, 1))],
)
def test_waves_are_as_many_as_the_modes_allow_and_the_cells_carry(grid, counts):
    assert ops.wave_counts(grid, 16) == counts


@pytest.mark.parametrize("length", [1, 2, 5, 9, 30])
@pytest.mark.parametrize("padded", [False, True])
def test_resampling_by_definition(length, padded):
    x = torch.randn(4, 9, 2, dtype=torch.float64)
    real = torch.tensor([[1] * 9, [1] * 4 + [0] * 5, [0, 1, 1, 0, 1, 1, 1, 0, 0], [0] * 9], dtype=torch.bool)
    got = ops.resampled(torch.where(real[..., None], x, torch.nan) if padded else x, length, real if padded else None)
    for row in range(4):
        want = reference.resampled(x[row].numpy(), length, real[row].numpy() if padded else None)
        np.testing.assert_allclose(got[row].numpy(), want, atol=1e-12)


@pytest.mark.parametrize(("before", "after"), [(12, 30), (30, 12), (13, 11), (11, 11)])
def test_resampling_is_exact_for_what_both_carry(before, after):
    """Modalities aligned by raw index, or with a sample less where lengths are odd, are not."""
    amplitudes = np.random.default_rng(0).standard_normal((min(before, after), 3))
    sampled = [
        torch.from_numpy(np.array([reference.value(amplitudes, (i + 0.5) / n) for i in range(n)]))
        for n in (before, after)
    ]
    got = ops.resampled(sampled[0][None], after)[0]
    torch.testing.assert_close(got, sampled[1], atol=1e-12, rtol=0)


def test_resampling_does_not_join_the_ends():
    """A periodic spectrum would bring the end of a ramp back at its start."""
    ramp = torch.arange(32, dtype=torch.float64)[None, :, None]
    got = ops.resampled(ramp, 64)[0, :, 0]
    want = torch.arange(64, dtype=torch.float64) / 2 - 0.25
    assert (got - want).abs().max() < 0.3


def test_resampling_has_a_gradient_where_positions_are_real_alone():
    x = torch.randn(1, 6, 2, dtype=torch.float64, requires_grad=True)
    real = torch.tensor([[0, 1, 1, 1, 0, 0]]).bool()
    ops.resampled(x, 4, real).square().sum().backward()
    assert (x.grad.abs().sum(-1) > 0)[0].tolist() == real[0].tolist()
    assert torch.autograd.gradcheck(lambda x: ops.resampled(x, 4, real), x)
