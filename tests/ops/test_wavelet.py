"""Wavelet transforms against PyWavelets and the sum over taps; inverses are exact; gradients are right."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import pywt
import torch

from tests.reference import wavelet as reference
from undula.ops.wavelet import MODES, coefficient_count, from_packets, packets, wavedec, waverec
from undula.ops.wavelet_blocks import GROUP, in_groups
from undula.ops.wavelet_filters import named_filters, wavelet_names

FEW = ("db1", "db4", "sym5", "coif2", "bior3.5", "rbio2.4", "dmey", "db38")


def close(got, want, limit=1e-9):
    np.testing.assert_allclose(got.detach().numpy(), want, rtol=0, atol=limit)


def theirs(x, name, mode, levels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that short signals have boundaries everywhere
        approx, *details = pywt.wavedec(x.numpy(), name, mode=mode, level=levels)
    return [approx, *details[::-1]]


def equals_pywavelets(name, mode, length, levels, portable):
    x, filters = torch.randn(2, 3, length, dtype=torch.float64), named_filters(name)
    want = theirs(x, name, mode, levels)
    approx, details = wavedec(x, filters.analysis, levels, mode, portable=portable)
    for got, expected in zip([approx, *details], want, strict=True):
        close(got, expected)
    back = waverec(approx, details, filters.synthesis, mode, length, portable=portable)
    close(back, pywt.waverec([want[0], *want[:0:-1]], name, mode=mode)[..., :length])
    if name != "dmey":  # its taps are cut off
        close(back, x)


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FEW)
def test_equals_pywavelets_at_every_length_and_comes_back(name, mode, portable):
    for length in (2, 3, 5, 8, 16, 17, 37, 64, 127):
        equals_pywavelets(name, mode, length, 1, portable)
    for length in (37, 64, 127):
        equals_pywavelets(name, mode, length, 3, portable)


def test_every_wavelet_of_pywavelets_equals_it():
    assert len(wavelet_names()) > 100
    for name in wavelet_names():
        for mode in MODES:
            equals_pywavelets(name, mode, 41, 1, False)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [2, 7, 20])
def test_equals_the_sum_over_taps(mode, length):
    x, wavelet = torch.randn(length, dtype=torch.float64), pywt.Wavelet("db3")
    approx, (detail,) = wavedec(x, named_filters("db3").analysis, 1, mode)
    low, high = reference.level(x.numpy(), wavelet.dec_lo, wavelet.dec_hi, mode)
    close(approx, low, 1e-13)
    close(detail, high, 1e-13)


def test_a_single_sample():
    x = torch.tensor([[2.0]], dtype=torch.float64)
    for mode in ("periodization", "symmetric", "zero"):
        equals_pywavelets("db2", mode, 1, 1, False)
    with pytest.raises(ValueError, match="one sample, which mode 'reflect' cannot mirror"):
        wavedec(x, named_filters("db2").analysis, 1, "reflect")


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [7, 10])
def test_gradients(mode, length, portable):
    x = torch.randn(2, length, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)

    def down(x, taps):
        approx, details = wavedec(x, taps, 2, mode, portable=portable)
        return approx, *details

    assert torch.autograd.gradcheck(down, (x, taps))
    coefficients = [t.detach().requires_grad_() for t in down(x, taps)]
    assert torch.autograd.gradcheck(
        lambda taps, approx, *details: waverec(approx, details, taps, mode, length, portable=portable),
        (taps, *coefficients),
    )


def test_gradient_of_one_band_alone():
    x, taps = torch.randn(2, 30, dtype=torch.float64, requires_grad=True), named_filters("db4").analysis
    found = []
    for portable in (False, True):
        _, details = wavedec(x, taps, 3, "symmetric", portable=portable)
        found.append(torch.autograd.grad(details[1].square().sum(), x)[0])
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_many_groups_of_rows_are_as_all_at_once(mode):
    x = torch.randn(2 * GROUP // 4000 + 3, 4001)
    found = []
    for portable in (False, True):
        leaf, taps = x.clone().requires_grad_(), named_filters("sym6").analysis.requires_grad_()
        approx, details = wavedec(leaf, taps, 2, mode, portable=portable)
        back = waverec(approx, details, taps, mode, 4001, portable=portable)
        (approx[:, :50] ** 2).sum().backward(retain_graph=True)
        (back[:, :50] ** 3).sum().backward()
        found.append((approx, details[0], back, leaf.grad, taps.grad))
    for got, want in zip(*found, strict=True):
        assert (got - want).abs().max() < 1e-4 * want.abs().max()
    assert (found[0][2] - x).abs().max() < 1e-5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["db1", "db4", "bior3.5"])
def test_in_float32_the_exact_results_are_rounded_once(name, mode):
    x, filters = torch.randn(64, 1001), named_filters(name)
    approx, details = wavedec(x, filters.analysis, 3, mode)
    exact, exact_details = wavedec(x.double(), filters.analysis, 3, mode)
    for got, want in zip([approx, *details], [exact, *exact_details], strict=True):
        assert torch.equal(got, want.float())
    back = waverec(approx, details, filters.synthesis, mode, 1001)
    want = waverec(approx.double(), [d.double() for d in details], filters.synthesis, mode, 1001)
    assert torch.equal(back, want.float())
    assert (back - x).abs().max() <= 5e-7


@pytest.fixture
def threads():
    """Sets how many threads operations have; put back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_threads_change_nothing(threads):
    """Bit for bit, the gradient of the filters included: sums do not depend on which thread was faster."""
    x = torch.randn(4 * GROUP // 4000 + 3, 4001)
    found = []
    for count in (1, 2, 3):
        threads(count)
        leaf, taps = x.clone().requires_grad_(), named_filters("db4").analysis.float().requires_grad_()
        approx, details = wavedec(leaf, taps, 2, "zero")
        (approx.square().sum() + details[0].sin().sum()).backward()
        found.append([approx, *details, leaf.grad, taps.grad])
        assert torch.get_num_threads() == count
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_a_group_is_computed_by_one_thread(threads):
    """Thousands of operations that are shared among threads wait for each other thousands of times."""
    threads(3)
    seen = []

    def step(room, rows):
        seen.append((room, rows.start, rows.stop, torch.get_num_threads(), torch.is_grad_enabled()))

    in_groups(11, 2, object, step)
    assert sorted(row[1:] for row in seen) == [(i, min(i + 2, 11), 1, False) for i in range(0, 11, 2)]
    assert len({id(row[0]) for row in seen}) == 3
    assert torch.get_num_threads() == 3
    with pytest.raises(ZeroDivisionError):
        in_groups(11, 2, object, lambda *_: 1 / 0)
    assert torch.get_num_threads() == 3


def test_rows_do_not_touch():
    x = torch.randn(4, 50)
    alone = wavedec(x, named_filters("db8").analysis, 2, "zero")
    x[1], x[3] = float("nan"), float("inf")
    beside = wavedec(x, named_filters("db8").analysis, 2, "zero")
    back = waverec(*beside, named_filters("db8").synthesis, "zero", 50)
    for row in (0, 2):
        assert (beside[0][row] - alone[0][row]).abs().max() < 1e-5
        assert (back[row] - x[row]).abs().max() < 1e-5


def test_types_and_autocast():
    x, taps = torch.randn(2, 40), named_filters("db2").analysis
    want = wavedec(x, taps, 2, "reflect")[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(wavedec(x, taps, 2, "reflect")[0], want)
    half = wavedec(x.bfloat16(), taps, 2, "reflect")[0]
    assert half.dtype is torch.bfloat16
    assert (half.float() - want).square().mean().sqrt() < 0.01 * want.square().mean().sqrt()


def test_filters_are_narrowed_before_they_go_to_another_device(monkeypatch):
    """Apple's has no float64."""
    move = torch.Tensor.to

    def to(tensor, where, *rest, **options):
        if isinstance(where, torch.device) and where.type == "meta":
            assert tensor.dtype is not torch.float64
        return move(tensor, where, *rest, **options)

    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr("undula.ops.wavelet.full_precision", nullcontext)  # there is no autocast for `meta`
    filters = named_filters("db2")
    approx, details = wavedec(torch.empty(2, 40, device="meta"), filters.analysis, 2, "zero")
    assert waverec(approx, details, filters.synthesis, "zero", 40).shape == (2, 40)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [32, 37])
def test_packets_equal_pywavelets_and_come_back(mode, length):
    x, filters = torch.randn(2, length, dtype=torch.float64), named_filters("db2")
    got = packets(x, filters.analysis, 3, mode)
    for row in range(2):
        tree = pywt.WaveletPacket(x[row].numpy(), "db2", mode=mode, maxlevel=3)
        for n, node in enumerate(tree.get_level(3, "natural")):
            close(got[row, n], node.data)
    close(from_packets(got, filters.synthesis, mode, length), x)
    with pytest.raises(ValueError, match="7 bands; wanted a power of 2"):
        from_packets(got[:, :7], filters.synthesis, mode, length)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mode": "symetric"}, "unknown wavelet mode 'symetric'; did you mean 'symmetric'"),
        ({"levels": 0}, "levels=0 of a signal of 8 samples; wanted at least 1 of each"),
        ({"x": torch.zeros(2, 0)}, "levels=1 of a signal of 0 samples"),
        ({"taps": torch.zeros(2, 3)}, "filters of 3 taps; wanted an even number"),
    ],
)
def test_bad_input(change, said):
    usual = {"x": torch.zeros(2, 8), "taps": torch.zeros(2, 4), "levels": 1, "mode": "zero"}
    with pytest.raises(ValueError, match=said):
        wavedec(**{**usual, **change})


@pytest.mark.parametrize(
    ("sizes", "length", "said"),
    [
        ((22, 67, 38, 22), 128, r"details\[1\] has 38 coefficients, of 67 samples"),
        ((21, 67, 37, 22), 128, "as many approximations as coefficients in the last details"),
        ((22, 67, 37, 22), 126, r"details\[0\] has 67 coefficients, of 126 samples; .* of 128 or 127"),
        ((22,), 128, "no details"),
    ],
)
def test_coefficients_that_no_signal_has(sizes, length, said):
    approx, *details = (torch.zeros(2, n) for n in sizes)
    with pytest.raises(ValueError, match=said):
        waverec(approx, details, named_filters("db4").synthesis, "reflect", length)


def test_lengths_of_the_usual_convention():
    lengths = [128]
    for _ in range(3):
        lengths.append(coefficient_count(lengths[-1], 8, "reflect"))
    assert lengths == [128, 67, 37, 22]
    assert coefficient_count(127, 8, "periodization") == 64
