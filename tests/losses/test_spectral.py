import math

import numpy as np
import pytest
import torch

from tests.reference import stft as reference
from undula.losses.config import SoundLossConfig
from undula.losses.spectral import spectral_distance, waveform_distance


def test_spectra_by_definition():
    y, x = 0.1 * torch.randn(2, 3, 70, dtype=torch.float64)
    total = 0.0
    for n in (16, 32):
        convergence, logs = [], []
        for a, b in zip(y.numpy(), x.numpy(), strict=True):
            Y, X = (np.sqrt(np.abs(reference.stft(s, n, n // 4, False)) ** 2 + 1e-8 * n) for s in (a, b))
            convergence.append(np.sqrt(((Y - X) ** 2).sum() + 1e-8) / np.sqrt((X**2).sum()))
            logs.append(np.abs(np.log(Y) - np.log(X)).mean())
        total += np.mean(convergence) + np.mean(logs)
    np.testing.assert_allclose(spectral_distance(y, x, (16, 32)).item(), total / 2, rtol=1e-10)


def test_the_waveform_term_is_the_ratio_of_powers_in_bels():
    x = torch.tensor([[1.0, -1.0, 1.0, -1.0], [0.1, 0.1, 0.1, 0.1]])
    assert abs(waveform_distance(1.1 * x, x).item() + 2) < 1e-3
    assert abs(waveform_distance(0 * x, x).item()) < 1e-6


def test_a_turned_sign_counts_in_the_waveform_alone():
    x = 0.1 * torch.randn(1, 400, dtype=torch.float64)
    assert spectral_distance(-x, x) < 1e-3
    assert abs(waveform_distance(-x, x).item() - math.log10(4)) < 1e-3


@pytest.mark.parametrize("length", [1, 64])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_silence_full_scale_and_equality_have_finite_gradients(length, level):
    x = torch.full((2, length), level)
    for start in (x, torch.zeros_like(x)):
        y = start.clone().requires_grad_()
        loss = waveform_distance(y, x) + spectral_distance(y, x)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(y.grad).all()
    assert spectral_distance(x, x) < 1e-2
    assert waveform_distance(x, x) <= 0


def test_rows_weigh_the_same():
    y, x = 0.1 * torch.randn(2, 2, 100, dtype=torch.float64)
    for distance in (waveform_distance, spectral_distance):
        apart = (distance(y[:1], x[:1]) + distance(y[1:], x[1:])) / 2
        torch.testing.assert_close(distance(y, x), apart)


def test_gradients():
    x = 0.1 * torch.randn(1, 20, dtype=torch.float64)
    y = (0.1 * torch.randn(1, 20, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: waveform_distance(y, x) + spectral_distance(y, x, (8, 16)), (y,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"waveform": -1.0}, "waveform=-1.0; wanted 0 or more"),
        ({"waveform": 0.0, "spectral": 0.0}, "wanted one of them above 0"),
        ({"n_fft": ()}, "wanted at least one length"),
    ],
)
def test_bad_weights_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SoundLossConfig(**values)
