"""Waves of content and position: lengths, the start, late positions, and counting from the first real token."""

import pytest
import torch

from undula.nn.wave_features import WaveFeatures, WaveHeads, real_positions


def test_a_query_times_a_key_starts_as_a_function_of_their_distance():
    waves = WaveFeatures(8, 3, 6).double()
    for linear in (waves.frequency, waves.phase):
        torch.nn.init.zeros_(linear.weight)
    u = waves(torch.zeros(1, 40, 8, dtype=torch.float64), torch.arange(40)[None])[0]
    products = u @ u.transpose(-1, -2)
    for lag in (0, 1, 7, 30):
        line = products.diagonal(lag, -2, -1)
        torch.testing.assert_close(line, line[:, :1].expand_as(line), atol=1e-9, rtol=0)
    # Three heads with three pairs each share a ladder from 1 to 0.001 radians per step.
    omega = torch.logspace(0, -3, 9, dtype=torch.float64).view(3, 3).T
    want = 6**0.5 * torch.cos(omega * 7).mean(-1)
    torch.testing.assert_close(products[:, 7, 0], want, atol=1e-6, rtol=0)


@pytest.mark.parametrize("count", [1, 5, 16])
def test_heads_have_one_length_whatever_the_input(count):
    waves = WaveFeatures(8, 2, count).double()
    u = waves(3 * torch.randn(2, 50, 8, dtype=torch.float64), torch.arange(1, 51)[None])
    lengths = torch.linalg.vector_norm(u, dim=-1)
    assert lengths.max().item() <= count**0.25
    assert lengths.median().item() == pytest.approx(count**0.25, rel=1e-4)


def test_content_moves_frequency_and_phase():
    waves = WaveFeatures(8, 2, 4).double()
    x = torch.randn(1, 30, 8, dtype=torch.float64)
    at = torch.arange(30)[None]
    want = waves(x, at)
    torch.nn.init.zeros_(waves.frequency.weight)
    moved = (waves(x, at) - want).abs().amax((0, 1, 3))
    assert moved[0] == 0, "at position 0 a frequency is not heard yet"
    assert moved[25:].max() > 1e-3
    torch.nn.init.zeros_(waves.phase.weight)
    assert (waves(x, at) - want)[:, :, 0].abs().max() > 0.1


def test_content_moves_a_late_phase_mildly():
    """An unbounded omega(x) times t would turn a wave at position 1000 many times when its input moves a little."""
    waves = WaveFeatures(64, 2, 16).double()
    for linear in (waves.frequency, waves.phase):
        torch.nn.init.normal_(linear.weight, std=0.02)
    torch.nn.init.zeros_(waves.phase.weight)
    x, at = torch.randn(1, 1, 64, dtype=torch.float64), torch.tensor([[1000]])
    u, moved = waves(x, at), waves(1.1 * x, at)
    cosine = (u * moved).sum(-1) / 4
    assert cosine.min().item() > 0.98


def test_late_positions_are_as_exact_as_early_ones():
    """Angles of 200,000 radians in single precision would be wrong by 0.01."""
    single = WaveFeatures(8, 2, 16)
    x, first = torch.randn(1, 20, 8), torch.arange(20)[None]
    double = WaveFeatures(8, 2, 16).double()
    double.load_state_dict(single.state_dict())
    for start in (0, 200_000):
        error = (single(x, first + start).double() - double(x.double(), first + start)).abs().max()
        assert error < 2e-3, start
    near = torch.full_like(first, 200_000)
    assert (double(x.double(), near) - double(x.double(), near + 1)).abs().max() > 0.5


def test_frequencies_survive_half_precision():
    """A frequency kept in bfloat16 is wrong by 0.4 %: at position 500 by 2 radians."""
    waves = WaveFeatures(8, 2, 16)
    torch.nn.init.normal_(waves.frequency_shift, std=0.01)
    x, at = torch.zeros(1, 500, 8), torch.arange(500)[None]
    want = waves(x, at)
    half = waves.bfloat16()(x.bfloat16(), at)
    assert half.dtype is torch.float32
    assert (half - want).abs().max() < 0.05
    with torch.autocast("cpu", torch.bfloat16):
        mixed = waves.float()(torch.randn(1, 500, 8), at)
    assert mixed.dtype is torch.float32


def test_no_frequency_folds_back():
    waves = WaveFeatures(8, 1, 2).double()
    torch.nn.init.zeros_(waves.phase.weight)
    torch.nn.init.constant_(waves.frequency_shift, 1e3)
    u = waves(torch.randn(1, 4, 8, dtype=torch.float64), torch.arange(4)[None])
    # At pi radians per step, the fastest there is, the cosine alternates.
    signs = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64)
    torch.testing.assert_close(u[0, 0, :, 1], 2**0.25 * signs, atol=1e-6, rtol=0)


def test_positions_count_from_the_first_real_token():
    x = torch.zeros(3, 5, 2)
    at, seen = real_positions(None, None, x)
    assert (at.tolist(), seen.tolist()) == ([[0, 1, 2, 3, 4]], [5, 5, 5])
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    at, seen = real_positions(mask, None, x)
    assert seen.tolist() == [5, 3, 2]
    assert [at[0].tolist(), at[1, 2:].tolist(), at[2, :2].tolist()] == [[0, 1, 2, 3, 4], [0, 1, 2], [0, 1]]
    at, seen = real_positions(mask, torch.tensor([4, 0, 1]), x)
    assert seen.tolist() == [9, 3, 3]
    assert [at[0].tolist(), at[1, 2:].tolist(), at[2, :2].tolist()] == [[4, 5, 6, 7, 8], [0, 1, 2], [1, 2]]
    at, seen = real_positions(None, seen, x[:, :1])
    assert (at.tolist(), seen.tolist()) == ([[9], [3], [3]], [10, 4, 4])


def test_scores_start_large_enough_to_select():
    """Products of unit sines times W^(1/4) each are at most W^(1/2), single ones at most W^(1/4)."""
    for power, want in ((1 / 2, 10 / 4), (1 / 4, 10 / 2)):
        scale = WaveHeads(16, 4, 16, power).scale(torch.float32)
        torch.testing.assert_close(scale.flatten(), torch.full((4,), want))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((30, 4, 8), "d_model=30 is not a multiple of num_heads=4; change one of them"),
        ((32, 0, 8), "d_model=32 is not a multiple of num_heads=0"),
        ((32, 4, 0), "num_waves=0 is not positive; give each head at least one wave"),
    ],
)
def test_widths_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        WaveHeads(*arguments, 1 / 2)
