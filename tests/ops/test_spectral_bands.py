import numpy as np
import pytest
import torch

from tests.reference import overlap as reference
from undula.ops.spectral_bands import bin_frequencies, log_bands

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [1, 2, 4, 7])
@pytest.mark.parametrize("width", [1, 2, 63, 64])
def test_bands_by_definition_sum_to_one(count, width):
    frequencies = bin_frequencies(width, device=CPU, dtype=torch.float64)
    np.testing.assert_allclose(frequencies.numpy(), np.fft.rfftfreq(width), atol=1e-16)
    got = log_bands(frequencies, count)
    np.testing.assert_allclose(got.numpy(), reference.log_bands(frequencies.numpy(), count), atol=1e-14)
    torch.testing.assert_close(got.sum(0), torch.ones_like(frequencies), atol=1e-14, rtol=0)


@pytest.mark.parametrize("count", [1, 4])
def test_a_learned_frequency_that_comes_to_nought_has_a_gradient(count):
    """The logarithm's slope there is infinite, and 0 times that is not 0."""
    frequencies = torch.tensor([0.0, 1e-45, 1e-30, 0.1, 0.5], requires_grad=True)
    (log_bands(frequencies, count) * torch.randn(count, 5)).sum().backward()
    assert frequencies.grad.isfinite().all()
    assert frequencies.grad[:3].tolist() == [0, 0, 0]


def test_a_frequency_has_the_same_weights_whatever_the_length_of_the_transform():
    """A weight that depends on the bin's number, or on its share of all bins' numbers, is another filter."""
    short, long = (log_bands(bin_frequencies(n, device=CPU, dtype=torch.float64), 4) for n in (64, 448))
    torch.testing.assert_close(long[:, ::7], short, atol=1e-14, rtol=0)
