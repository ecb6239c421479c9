import math

import numpy as np
import pytest
import torch

from undula.nn.filterbank import TriangleFilterBank
from undula.ops.stft import stft, tight_hann


def test_a_sample_never_changes_another_nor_a_frame_another():
    bank = TriangleFilterBank(8, 64, 1000, (20.0, 500.0)).double()
    x = torch.randn(3, 5, 33, dtype=torch.complex128)
    y = x.clone()
    y[2, 1] += 20
    changed = (bank(x) - bank(y)).abs().amax(-1)
    assert changed[2, 1] > 1
    changed[2, 1] = 0
    assert changed.max() == 0


def test_starts_as_mel_filters_each_reaching_to_its_neighbours():
    bank = TriangleFilterBank(40, 1024, 16000)
    centres = bank.centres().double()
    mel = 2595 * torch.log10(1 + centres / 700)
    np.testing.assert_allclose(mel.diff().detach(), mel.diff().mean().item(), rtol=1e-4)
    wide = bank.filters()[20:].double()
    bins = torch.arange(513) * 16000 / 1024
    between = (bins > centres[21]) & (bins < centres[-2])
    # Triangles that reach to their neighbours add up to 1.
    np.testing.assert_allclose(wide.sum(0)[between].detach(), 1, atol=1e-3)


def test_the_filters_together_give_the_signal_at_the_middle_of_each_frame():
    bank = TriangleFilterBank(12, 256, 8000, (0.0, 4000.0)).double()
    t = torch.arange(4000, dtype=torch.float64) / 8000
    x = 0.4 * torch.sin(2 * math.pi * 1111 * t + 1) + 0.3 * torch.cos(2 * math.pi * 1707 * t)
    bands = bank(stft(x[None], 256, 64))[0, 10:-10]
    scale = float(tight_hann(256, 64)[128]) * 128
    middles = x[::64][10 : 10 + len(bands)]
    np.testing.assert_allclose(bands.real.sum(-1).detach() / scale, middles, atol=0.01)


def test_every_filter_keeps_a_bin_and_its_centre_however_far_it_learns():
    bank = TriangleFilterBank(16, 64, 16000)
    with torch.no_grad():
        for p in bank.parameters():
            p.copy_(torch.linspace(-40, 40, 16))
    assert (bank.filters().sum(-1) > 0).all()
    assert bank.centres().min() >= 20
    assert bank.centres().max() <= 8000


def test_every_parameter_learns_and_constants_do_not():
    bank = TriangleFilterBank(8, 128, 16000)
    bank(torch.randn(1, 3, 65, dtype=torch.complex64)).abs().sum().backward()
    assert {n: bool(p.grad.abs().min() > 0) for n, p in bank.named_parameters()} == {
        "centre": True,
        "left": True,
        "right": True,
    }
    fixed = TriangleFilterBank(8, 128, 16000, learnable=False)
    assert list(fixed.parameters()) == []
    torch.testing.assert_close(fixed.filters(), bank.filters())
    assert set(fixed.state_dict()) == set(bank.state_dict())


def test_mixed_precision_keeps_the_bands_in_float32():
    bank = TriangleFilterBank(8, 128, 16000)
    x = torch.randn(1, 3, 65, dtype=torch.complex64)
    want = bank(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(bank(x), want, rtol=0, atol=0)


@pytest.mark.parametrize("freq_range", [(20.0, 4001.0), (500.0, 500.0), (-1.0, 100.0)])
def test_a_range_beyond_half_the_sample_rate_is_refused(freq_range):
    with pytest.raises(ValueError, match="does not ascend within 0 .. 4000 Hz"):
        TriangleFilterBank(8, 128, 8000, freq_range)
