import math

import numpy as np
import torch

from tests.reference import synthesis as reference
from undula.ops.distortion import si_sdr


def test_by_definition():
    y, x = torch.randn(2, 3, 40, dtype=torch.float64)
    y = y + 3 * x
    got = si_sdr(y, x)
    for i in range(3):
        np.testing.assert_allclose(got[i].item(), reference.si_sdr(y[i].numpy(), x[i].numpy()), rtol=1e-12)


def test_noise_at_a_tenth_of_the_power_is_ten_decibels_at_any_scale():
    x = torch.tensor([1.0, 1.0, -1.0, 1.0])
    noise = torch.tensor([1.0, -1.0, 1.0, 1.0]) / math.sqrt(10)
    assert (x @ noise).abs() < 1e-6
    for scale in (1e-3, 1.0, -5.0):
        assert abs(si_sdr(scale * (x + noise), x).item() - 10) < 1e-5


def test_nothing_exact_and_silent():
    x = torch.tensor([1.0, 2.0, 2.0])
    assert math.isnan(si_sdr(x, torch.zeros(3)).item())
    assert si_sdr(torch.zeros(3), x).item() == -math.inf
    assert si_sdr(torch.tensor([2.0, -1.0, 0.0]), x).item() == -math.inf
    assert si_sdr(4 * x, x).item() == math.inf


def test_a_constant_offset_is_distortion():
    x = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert abs(si_sdr(x + 1, x).item()) < 1e-12
