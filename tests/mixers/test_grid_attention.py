"""Attention over grids: against its definition, behind a local filter in two directions."""

import numpy as np
import pytest
import torch

from tests.contract.cases import moved
from tests.reference import half_waves as reference
from undula.mixers.base import State, build_mixer
from undula.mixers.grid_attention import GridAttention


def made(**options):
    torch.manual_seed(0)
    return moved(GridAttention(6, 2, **options)).double().eval()


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (1, 7), (1, 1)])
@pytest.mark.parametrize(("taps", "qk_norm"), [(1, False), (3, False), (3, True)])
def test_by_definition(grid, taps, qk_norm):
    built, x = made(short_conv=taps, qk_norm=qk_norm), torch.randn(2, grid[0] * grid[1], 6, dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in built.named_parameters()}
    got = built(x, False, grid=grid).detach().numpy()
    for row in range(2):
        smooth = reference.local(x[row].view(*grid, 6).numpy(), p["short.weight"], p["short.bias"]).reshape(-1, 6)
        q, k, v = np.split(smooth @ p["in_proj.weight"].T, 3, axis=-1)
        heads = []
        for head in (slice(0, 3), slice(3, 6)):
            one, other = q[:, head], k[:, head]
            if qk_norm:
                one, other = (
                    z / np.sqrt((z**2).mean(1, keepdims=True) + 1e-6) * p[f"{name}_norm.weight"]
                    for name, z in (("q", one), ("k", other))
                )
            weights = np.exp(one @ other.T / np.sqrt(3))
            heads.append(weights / weights.sum(1, keepdims=True) @ v[:, head])
        np.testing.assert_allclose(got[row], np.concatenate(heads, 1) @ p["out_proj.weight"].T, atol=1e-11)


def test_mistakes_are_answered():
    built, x = made(), torch.randn(2, 16, 6, dtype=torch.float64)
    for wrong in ({"causal": True}, {"attention_mask": torch.ones(2, 16)}, {"state": State()}):
        with pytest.raises(ValueError, match="grid_attention mixes whole grids: call it with causal=False"):
            built(x, grid=(4, 4), **wrong)
    with pytest.raises(ValueError, match=r"grid=\(4, 5\) for 16 cells; wanted"):
        built(x, grid=(4, 5))
    with pytest.raises(ValueError, match="no state to start from"):
        built.init_state(2)
    with pytest.raises(ValueError, match="d_model=6 is not a multiple of num_heads=4"):
        GridAttention(6, 4)
    with pytest.raises(ValueError, match="short_conv=2; wanted an odd number"):
        build_mixer("grid_attention", 6, 2, short_conv=2)
