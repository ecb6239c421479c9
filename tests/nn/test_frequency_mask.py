"""The mask goes by frequency, ends without a jump and leaves frequencies and phases alone."""

import numpy as np
import pytest
import torch

from tests.reference.sparsity import frequency_gain
from undula.nn.frequency_mask import FrequencyMask

H = 8


def waves():
    x = torch.randn(2, 5, 3 * H, dtype=torch.float64)
    x[..., :H] = 20 * torch.rand(2, 5, H, dtype=torch.float64) + 0.1
    return x


@pytest.mark.parametrize("limit", [0.05, 0.4, 0.95])
@pytest.mark.parametrize(("slope", "highest"), [(10.0, None), (40.0, 25.0), (10.0, 5.0)])
def test_amplitudes_alone_are_scaled_by_the_definition(limit, slope, highest):
    x, mask = waves(), FrequencyMask(H, slope, highest=highest)
    f, a, p = mask(x, limit).chunk(3, -1)
    assert torch.equal(f, x[..., :H])
    assert torch.equal(p, x[..., 2 * H :])
    want = [[frequency_gain(at[:H].numpy(), limit, slope, highest) for at in row] for row in x]
    np.testing.assert_allclose((a / x[..., H : 2 * H]).numpy(), want, atol=1e-12)


def test_what_is_below_the_limit_passes_whole_at_small_limits_too():
    x = torch.ones(1, 1, 3 * H)
    x[..., :H] = torch.arange(1, H + 1) / H
    gains = FrequencyMask(H)(x, 0.25)[0, 0, H : 2 * H]
    assert gains[:2].tolist() == [1.0, 1.0]
    assert gains[2] < 1


@pytest.mark.parametrize("highest", [None, 5.0])
def test_the_end_of_the_curriculum_is_no_jump(highest):
    x, mask = waves(), FrequencyMask(H, highest=highest)
    assert mask(x, 1.0) is x
    torch.testing.assert_close(mask(x, 1 - 1e-9), x, atol=1e-6, rtol=0)
    assert torch.equal(mask(x, torch.ones((), dtype=torch.float64)), x)


def test_gradients_reach_amplitudes_and_silence_is_finite():
    x = torch.zeros(1, 2, 3 * H, requires_grad=True)
    out = FrequencyMask(H)(x, 0.5)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FrequencyMask(H, 0.0), "mask_slope=0.0"),
        (lambda: FrequencyMask(H, highest=-1.0), "highest=-1.0"),
        (lambda: FrequencyMask(H)(torch.zeros(1, 2, 20), 0.5), "20 wide, wanted 3 x num_harmonics=24"),
        (lambda: FrequencyMask(H)(torch.zeros(1, 2, 24), -0.5), "freq_limit=-0.5"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
