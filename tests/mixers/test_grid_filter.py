"""The filter over grids: against its definition, one function at every resolution, no border that meets another."""

import numpy as np
import pytest
import torch

from tests.contract.cases import moved
from tests.reference import half_waves as reference
from undula.mixers.base import GRID_MIXERS, MIXERS, State, build_mixer
from undula.mixers.grid_filter import GridFilter
from undula.models.backbone import Backbone
from undula.models.config import BackboneConfig


def mixer(**options):
    torch.manual_seed(0)
    return moved(GridFilter(6, 2, **{"modes": 4, **options})).double().eval()


def cells(grid, rows=2, width=6):
    return torch.randn(rows, grid[0] * grid[1], width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (5, 2), (1, 7), (1, 1)])
@pytest.mark.parametrize("options", [{}, {"phase_aware": False}, {"num_bands": 2, "short_conv": 1, "modes": 3}])
def test_by_definition(grid, options):
    """A convolution, cell by cell, with the mirrored image; the page's transform ran along rows of rows."""
    built, x = mixer(**options), cells(grid)
    p = {name: value.detach().numpy() for name, value in built.named_parameters()}
    got = built(x, False, grid=grid).detach().numpy()
    sizes = {"modes": 4, "num_bands": 3} | {k: v for k, v in options.items() if k in ("modes", "num_bands")}
    for row in range(2):
        want = reference.grid_filter(x[row].numpy(), p, grid, 2, sizes["modes"], sizes["num_bands"])
        np.testing.assert_allclose(got[row], want, atol=1e-11)


def test_gradcheck():
    built, x = mixer(modes=2), cells((2, 3), rows=1).requires_grad_()
    names, parameters = zip(*built.named_parameters(), strict=True)

    def run(x, *values):
        return torch.func.functional_call(built, dict(zip(names, values, strict=True)), (x,), {"grid": (2, 3)})

    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)


@pytest.mark.parametrize("grid", [(5, 5), (4, 8), (1, 6)])
def test_the_filter_is_the_same_function_of_an_image_at_every_resolution(grid):
    """Every third cell of a grid that is three times as fine stands where a cell of the coarse one does."""
    built, gates = mixer(), torch.rand(1, 2, 3, dtype=torch.float64)
    fine = (3 * grid[0], 3 * grid[1])
    amplitudes = torch.randn(*grid, 6, dtype=torch.float64)

    def filtered(grid):
        y, x = ((torch.arange(n, dtype=torch.float64) + 0.5) * torch.pi / n for n in grid)
        k, m = (torch.arange(n)[:, None] for n in amplitudes.shape[:2])
        image = torch.einsum("kmd,kr,mc->rcd", amplitudes, (k * y).cos(), (m * x).cos())
        return built.filtered(image.flatten(0, 1)[None], grid, gates).view(*grid, 6)

    coarse = filtered(grid)
    torch.testing.assert_close(filtered(fine)[1::3, 1::3], coarse, atol=1e-12, rtol=0)
    assert coarse.square().mean() > 0.01


def test_opposite_borders_do_not_meet():
    """A periodic transform brings what stands at the right border back at the left, and one row's end into the next."""
    built = mixer(modes=12, short_conv=1, phase_aware=True)
    with torch.no_grad():
        built.response.zero_()
        # A narrow blur: the response of exp(-d^2 / 2 s^2) with s = 1 cell of 12.
        f = torch.arange(12, dtype=torch.float64)
        g = torch.exp(-((torch.pi * f / 12) ** 2) / 2)
        built.response[0, 0] = (g[:, None] * g)[..., None]
    u = torch.zeros(1, 144, 6, dtype=torch.float64)
    u.view(1, 12, 12, 6)[0, 5, 11] = 1
    y = built.filtered(u, (12, 12), torch.ones(1, 2, 3, dtype=torch.float64)).view(12, 12, 6)
    assert y[5, 11, 0] > 0.1
    assert y[5, 9, 0] > 0.01
    assert y[:, :3].abs().max() < 1e-4
    assert y[11, 10:].abs().max() < 1e-4


def test_a_shift_needs_phases():
    image = torch.zeros(1, 64, 6, dtype=torch.float64)
    image.view(8, 8, 6)[3, 3] = 1
    gates = torch.ones(1, 2, 3, dtype=torch.float64)
    for aware in (False, True):
        built = mixer(phase_aware=aware)
        y = built.filtered(image, (8, 8), gates).view(8, 8, 6)
        # Mirror images of both sides of the bright cell are alike where filters are even.
        turned = torch.zeros_like(image)
        turned.view(8, 8, 6)[4, 4] = 1
        other = built.filtered(turned, (8, 8), gates).view(8, 8, 6).flip(0, 1)
        assert torch.allclose(y, other) == (not aware)


def test_gates_depend_on_the_image_and_thresholds_close_them():
    built, x = mixer(), cells((4, 4))
    x[1] = x[0]
    x[1, 3] += 2
    seen = []
    filtered = built.filtered
    built.filtered = lambda u, grid, gates: seen.append(gates) or filtered(u, grid, gates)
    built(x, grid=(4, 4))
    assert (seen[0][0] - seen[0][1]).abs().max() > 1e-3
    with torch.no_grad():
        built.threshold.fill_(50.0)
    built(x, grid=(4, 4))
    assert seen[1].max() < 1e-12


def test_half_precision_stays_within_its_rounding():
    built, x = mixer().float(), cells((9, 7)).float()
    want = built(x, grid=(9, 7))
    size = want.square().mean().sqrt()
    with torch.autocast("cpu", torch.bfloat16):
        lowered = built(x, grid=(9, 7))
    y = built.to(torch.bfloat16)(x.bfloat16(), grid=(9, 7))
    assert y.dtype is torch.bfloat16
    assert ((lowered.float() - want).square().mean().sqrt() / size) < 0.03
    assert ((y.float() - want).square().mean().sqrt() / size) < 0.03


def test_one_image_never_changes_another_and_silence_is_finite():
    built, x = mixer(), cells((4, 6), rows=3)
    alone = torch.cat([built(row[None], grid=(4, 6)) for row in x])
    torch.testing.assert_close(built(x, grid=(4, 6)), alone, atol=1e-12, rtol=0)
    zeros = torch.zeros_like(x).requires_grad_()
    y = built(zeros, grid=(4, 6))
    y.square().sum().backward()
    assert y.isfinite().all()
    assert zeros.grad.isfinite().all()


@pytest.mark.parametrize(
    ("option", "value"), [("modes", 3), ("num_bands", 2), ("phase_aware", False), ("short_conv", 1)]
)
def test_every_option_is_read(option, value):
    torch.manual_seed(0)
    usual = build_mixer("grid_filter", 12, 4)
    torch.manual_seed(0)
    other = build_mixer("grid_filter", 12, 4, **{option: value})
    x = cells((4, 4), width=12).float()
    assert (usual(x, grid=(4, 4)) - other(x, grid=(4, 4))).abs().max() > 1e-6


def test_mistakes_are_answered():
    built, x = mixer(), cells((4, 4))
    for wrong in ({"causal": True}, {"attention_mask": torch.ones(2, 16)}, {"state": State()}):
        with pytest.raises(ValueError, match="grid_filter mixes whole grids: call it with causal=False"):
            built(x, grid=(4, 4), **wrong)
    for grid in (None, (4, 5)):
        with pytest.raises(ValueError, match="for 16 cells; wanted"):
            built(x, grid=grid)
    with pytest.raises(ValueError, match="no state to start from"):
        built.init_state(2)
    with pytest.raises(ValueError, match="d_model=6 is not a multiple of num_heads=4"):
        GridFilter(6, 4)
    with pytest.raises(ValueError, match="modes=0, num_bands=3; wanted at least 1 each"):
        GridFilter(6, 2, modes=0)
    with pytest.raises(ValueError, match="short_conv=2; wanted an odd number of cells"):
        GridFilter(6, 2, short_conv=2)
    with pytest.raises(ValueError, match="unknown option of mixer 'grid_filter' 'mode'; did you mean 'modes'"):
        build_mixer("grid_filter", 6, 2, mode=3)


def test_a_backbone_takes_grid_mixers_beside_others_and_tells_them_the_grid():
    config = BackboneConfig(
        d_model=8,
        num_layers=3,
        num_heads=2,
        mixers=("grid_filter", "attention"),
        mixer_options={"grid_filter": {"modes": 3}},
    )
    built = Backbone(config).double()
    assert [type(m).__name__ for m in built.mixers()] == ["GridFilter", "FlashAttention", "GridFilter"]
    x = cells((4, 6), width=8)
    assert (built(x, False, grid=(4, 6)) - built(x, False, grid=(6, 4))).abs().max() > 1e-5
    with pytest.raises(ValueError, match="grid=None for 24 cells"):
        built(x, False)
    with pytest.raises(ValueError, match="block='parallel' has no grid; blocks with the mixer 'grid_filter'"):
        Backbone(BackboneConfig(d_model=8, num_heads=2, mixers=("grid_filter",), block="parallel"))


def test_grid_mixers_stand_apart_from_mixers_of_sequences():
    assert set(GRID_MIXERS) & set(MIXERS) == set()
    assert all(GRID_MIXERS[name].traits.grid and not GRID_MIXERS[name].traits.causal for name in GRID_MIXERS)
    assert not any(MIXERS[name].traits.grid for name in MIXERS)
