import math

import numpy as np
import pytest
import torch
from scipy import signal

from tests.reference import synthesis as reference
from undula.ops.resample import resample


@pytest.mark.parametrize(("old", "new"), [(8000, 16000), (16000, 8000), (44100, 8000), (8000, 11025), (3, 7), (7, 3)])
@pytest.mark.parametrize("length", [1, 2, 60, 101])
def test_by_definition(old, new, length):
    common = math.gcd(old, new)
    x = torch.randn(length, dtype=torch.float64)
    got = resample(x, old, new)
    want = reference.resample(x.numpy(), old // common, new // common)
    assert len(got) == math.ceil(length * new / old)
    np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


@pytest.mark.parametrize(("old", "new"), [(16000, 8000), (8000, 16000), (44100, 8000), (22050, 16000)])
def test_a_tone_stays_the_same_tone(old, new):
    f, count = 1234.5, old // 4
    x = torch.sin(2 * math.pi * f / old * torch.arange(count, dtype=torch.float64))
    got = resample(x, old, new)
    want = torch.sin(2 * math.pi * f / new * torch.arange(len(got), dtype=torch.float64))
    assert (got - want)[200:-200].abs().max() < 1e-3


def test_what_the_lower_rate_cannot_carry_is_gone():
    x = torch.sin(2 * math.pi * 5000 / 16000 * torch.arange(4000, dtype=torch.float64))
    assert resample(x, 16000, 8000)[100:-100].abs().max() < 1e-3
    # Without a filter it would come back as a tone of 3000 Hz.
    assert x[::2].abs().max() > 0.9


def test_about_as_good_as_scipys():
    x = torch.cumsum(torch.randn(2000, dtype=torch.float64), 0) / 40
    got, want = resample(x, 3, 2).numpy(), signal.resample_poly(x.numpy(), 2, 3)
    inner = slice(100, -100)
    assert np.abs(got - want)[inner].max() < 0.02 * np.abs(want[inner]).max()


def test_batches_types_and_nothing():
    x = torch.randn(2, 3, 50)
    got = resample(x, 2, 3)
    assert got.dtype == torch.float32
    assert got.shape == (2, 3, 75)
    torch.testing.assert_close(got[1, 2], resample(x[1, 2], 2, 3), rtol=0, atol=1e-6)
    assert resample(x, 5, 5) is x
    assert resample(x[..., :0], 2, 3).shape == (2, 3, 0)
    with pytest.raises(ValueError, match="from 0 to 8000 samples per second; wanted positive rates"):
        resample(x, 0, 8000)
