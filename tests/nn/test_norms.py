"""RMSNorm: its start, its eps."""

import pytest
import torch

from undula.nn.norms import RMSNorm
from undula.ops.norm import rms_norm


def test_starts_as_ones_with_the_documented_eps():
    norm = RMSNorm(4)
    assert norm.eps == 1e-6
    assert torch.equal(norm.weight, torch.ones(4))


def test_weight_and_eps_are_its_own():
    norm = RMSNorm(4, eps=0.5)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 3, 4)
    assert torch.equal(norm(x), rms_norm(x, norm.weight, 0.5))


def test_another_width_is_refused():
    with pytest.raises(ValueError, match="got a sequence that is 5 wide; wanted 4"):
        RMSNorm(4)(torch.zeros(1, 2, 5))
