"""Convolutions over frames: against sums, deaf to padding, and to the future where they are causal."""

import numpy as np
import pytest
import torch
from scipy.special import erf

from undula.nn.frame_stem import FrameStem


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def convolved(x, weight, bias, stride, causal):
    out = []
    for t in range(0, x.shape[1], stride):
        total = bias.copy()
        for tap in range(3):
            s = t + tap - (2 if causal else 1)
            if 0 <= s < x.shape[1]:
                total += weight[:, :, tap] @ x[:, s]
        out.append(total)
    return gelu(np.array(out).T)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("halvings", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_by_definition_for_the_real_frames_alone(causal, halvings, steps):
    built = FrameStem(3, 4, halvings, causal).double()
    x = torch.randn(2, 3, 9, dtype=torch.float64)
    real = torch.arange(9) < torch.tensor([[9], [steps]])
    y, kept = built(torch.where(real[:, None], x, torch.nan), real)
    for row, length in enumerate((9, steps)):
        want = x[row, :, :length].numpy()
        for i, conv in enumerate(built.convs):
            want = convolved(want, conv.weight.detach().numpy(), conv.bias.detach().numpy(), 2 if i else 1, causal)
        assert kept[row].sum() == want.shape[1]
        np.testing.assert_allclose(y[row][kept[row]].detach().numpy().T, want, atol=1e-12)
    alone, none = built(x[:1])
    assert none is None
    torch.testing.assert_close(alone, y[:1])
