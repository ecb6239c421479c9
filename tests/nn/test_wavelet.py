"""The documented transforms: exact, learnable without losing reconstruction, honest about what failed."""

import math

import pytest
import pywt
import torch

from undula.nn.wavelet import EnhancedWaveletTransform, WaveletTransform
from undula.ops.wavelet import MODES

LEARNED = ("db1", "db4", "sym8", "db20", "bior2.2", "bior4.4")
"""By rotations and by lifting."""


def test_the_documented_example():
    transform = EnhancedWaveletTransform(wavelet_type="db4", levels=3)
    x = torch.randn(2, 128, 256)
    approx, details = transform(x)
    # Every level keeps its own length, finest first; the lengths are PyWavelets'.
    assert [d.shape[1] for d in details] == [67, 37, 22]
    assert approx.shape == (2, 22, 256)
    back = transform.inverse(approx, details)
    assert back.shape == x.shape
    assert torch.norm(x - back) < 1e-6 * x.numel() ** 0.5
    assert f"{transform.get_performance_stats()['success_rate']:.2%}" == "100.00%"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["db2", "bior2.2"])
def test_coefficients_are_pywavelets(mode, name):
    x = torch.randn(2, 61, 3, dtype=torch.float64)
    approx, details = WaveletTransform(name, levels=2, mode=mode)(x)
    want = pywt.wavedec(x.numpy(), name, mode=mode, level=2, axis=1)
    for got, expected in zip([approx, *details[::-1]], want, strict=True):
        torch.testing.assert_close(got, torch.from_numpy(expected), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", LEARNED)
def test_learned_filters_start_as_the_named_wavelet(name):
    x = torch.randn(2, 96, 3, dtype=torch.float64)
    learned = EnhancedWaveletTransform(name, levels=1).double()(x)
    named = EnhancedWaveletTransform(name, levels=1, use_learned=False)(x)
    torch.testing.assert_close(learned[0], named[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(learned[1][0], named[1][0], rtol=0, atol=1e-5)


def test_rotations_are_learned_where_there_are_any():
    names = {name: sorted(EnhancedWaveletTransform(name).state_dict()) for name in LEARNED}
    lifted = ["predict", "update"]
    rotated = {"db4": ["angles"], "sym8": ["angles"]}
    assert names == {name: rotated.get(name, lifted) for name in LEARNED}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LEARNED)
def test_whatever_is_learned_reconstructs(name, mode):
    transform = EnhancedWaveletTransform(name, levels=2, mode=mode).double()
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, 91, 3, dtype=torch.float64)
    approx, details = transform(x)
    limit = 1e-12 if "angles" in transform.state_dict() else 1e-10  # PyWavelets' own taps are true to 1e-12
    assert (transform.inverse(approx, details) - x).abs().max() < limit


@pytest.mark.parametrize("name", LEARNED)
def test_every_parameter_has_a_gradient(name):
    transform = EnhancedWaveletTransform(name, levels=2)
    approx, details = transform(torch.randn(2, 90, 3))
    (approx.abs().mean() - details[0].abs().mean()).backward()
    gradients = {n: p.grad for n, p in transform.named_parameters()}
    assert gradients
    for gradient in gradients.values():
        assert gradient.isfinite().all()
        assert (gradient.abs() > 0).all()


def test_fixed_filters_have_no_parameters_and_stay_in_float64():
    transform = EnhancedWaveletTransform(use_learned=False)
    assert not transform.state_dict()
    assert transform.half().filters.analysis.dtype is torch.float64


def test_another_call_between_does_not_matter():
    transform = EnhancedWaveletTransform("db4", levels=2, use_learned=False)
    x = torch.randn(1, 61, 2)
    approx, details = transform(x)
    transform(torch.randn(1, 90, 2))
    assert (transform.inverse(approx, details) - x).abs().max() < 1e-5
    plain = list(details)
    assert transform.inverse(approx, plain).shape == (1, 62, 2)
    assert (transform.inverse(approx, plain, length=61) - x).abs().max() < 1e-5


def test_failures_are_counted_and_nothing_is_invented_before_the_first_call():
    transform = EnhancedWaveletTransform(levels=2)
    assert math.isnan(transform.get_performance_stats()["success_rate"])
    approx, details = transform(torch.randn(1, 64, 2))
    with pytest.raises(ValueError, match="comes down to 5 at level 1, less than the 8 taps of db4"):
        transform(torch.randn(1, 5, 2))
    with pytest.raises(ValueError, match="details of 1 levels; this transform has 2"):
        transform.inverse(approx, details[:1])
    transform.inverse(approx, details)
    assert transform.get_performance_stats() == {"total_calls": 4, "error_count": 2, "success_rate": 0.5}


@pytest.mark.parametrize("name", ["db4", "bior2.2"])
def test_coefficients_of_the_wrong_shape_are_refused(name):
    transform = EnhancedWaveletTransform(name, levels=2)
    approx, details = transform(torch.randn(1, 64, 2))
    for wrong in ([details[0][:, :-3], details[1]], [details[0], details[1][:, 1:]], [details[1], details[0]]):
        with pytest.raises(ValueError, match="wanted equal|make that many"):
            transform.inverse(approx, wrong)


def test_bad_settings():
    with pytest.raises(ValueError, match="unknown wavelet 'sym44'; did you mean 'sym4'"):
        EnhancedWaveletTransform("sym44")
    with pytest.raises(ValueError, match="unknown wavelet mode 'reflekt'; did you mean 'reflect'"):
        EnhancedWaveletTransform(mode="reflekt")
    with pytest.raises(ValueError, match="levels=0; wanted at least 1"):
        WaveletTransform(levels=0)
    with pytest.raises(ValueError, match="wanted levels=2 at most"):
        WaveletTransform("db4", levels=3, mode="periodization")(torch.randn(1, 28, 2))
