"""Stochastic wavelets: training draws and computes less, evaluation does neither. Values are in the contract."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from undula.mixers.stochastic_wavelet import StochasticWavelet


def flops(built, x):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        built(x)
    return counter.get_total_flops()


def test_evaluation_is_not_random_and_training_is_right_on_average():
    """Two calls of an evaluation differed by 1.5."""
    built, x = StochasticWavelet(8).double(), torch.randn(1, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        want = built.eval()(x)
        assert torch.equal(built(x), want)
        found = torch.stack([built.train()(x) for _ in range(3000)])
    assert found.std(0).max() > 0.01
    assert ((found.mean(0) - want).abs() < 5 * found.std(0) / 3000**0.5).all()


def test_drawing_is_computing_less():
    """Training computed the whole transform beside the sampled one."""
    x = torch.randn(2, 32, 16)
    product = 2 * 2 * 32 * 16 * 16
    for ratio, bands in ((0.25, 1), (0.5, 2), (1.0, 4)):
        built = StochasticWavelet(16, sampling_ratio=ratio)
        assert flops(built, x) == (bands + 2) * product
        assert flops(built.eval(), x) == 6 * product


def test_the_state_has_a_size_of_its_own_and_loads_anywhere():
    built = StochasticWavelet(8, wavelets=("db1", "db2"))
    names = set(built.state_dict())
    built.train()(torch.randn(1, 40, 8))
    assert set(built.state_dict()) == names == {name for name, _ in built.named_parameters()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling_ratio": 0.0}, "sampling_ratio=0.0; wanted a share"),
        ({"sampling_ratio": 1.5}, "sampling_ratio=1.5"),
        ({"levels": 0}, "levels=0"),
        ({"wavelets": ("dbx",)}, "unknown wavelet 'dbx'"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        StochasticWavelet(8, **options)
    with pytest.raises(ValueError, match="looks back only; use attention or fft_conv where causal=False"):
        StochasticWavelet(8)(torch.randn(1, 4, 8), False)
