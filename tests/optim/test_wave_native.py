"""The optimizer's steps are those of its equations, whatever way they are computed."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.reference.wave_native import (
    adaptive_trajectory,
    column_projector,
    late_trajectory,
    projectors,
    trajectory,
)
from undula.ops import projection
from undula.optim import wave_native
from undula.optim.wave_native import WaveNativeOptimizer
from undula.training.state import load_tree, save_tree

OPTIONS = {"lr": 0.02, "damping": 0.2, "coherence_weight": 0.6, "weight_decay": 0.05}
SHAPES = [(12, 5), (5, 12), (8, 8), (7,), (3, 4, 2)]


def reference_options(options):
    return {
        "lr": options["lr"],
        "damping": options["damping"],
        "weight": options["coherence_weight"],
        "decay": options["weight_decay"],
    }


def valley(W):
    """Return a gradient that depends on where W is, as a function for numpy and for torch alike."""
    goal = torch.randn(W.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).numpy()

    def gradient(value, step):
        return (value - goal) * (1 + math.sin(step)) + 0.3 * np.sin(3 * value)

    return gradient


def run(start, gradient, steps, dtype=torch.float64, **options):
    """Return all values of a parameter after each step, and the optimizer."""
    p = nn.Parameter(torch.tensor(start, dtype=dtype))
    optimizer, path = WaveNativeOptimizer([p], **options), []
    for t in range(steps):
        p.grad = torch.as_tensor(gradient(p.detach().double().numpy(), t)).to(dtype)
        optimizer.step()
        path.append(p.detach().double().numpy().copy())
    return path, optimizer


def start_of(shape):
    return torch.randn(shape, dtype=torch.float64).numpy()


def closest(path, wanted, error):
    for got, want in zip(path, wanted, strict=True):
        np.testing.assert_allclose(got, want, atol=error, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_every_step_is_the_documented_one(shape, dtype, error):
    start = start_of(shape)
    wanted = trajectory(start, valley(start), 50, **reference_options(OPTIONS))
    closest(run(start, valley(start), 50, dtype, **OPTIONS)[0], wanted, error)


def test_the_projection_makes_a_difference_where_it_can():
    """Without it, the rectangular trajectories of the test above would be others."""
    start = start_of((12, 5))
    options = reference_options(OPTIONS)
    wanted = trajectory(start, valley(start), 50, **{**options, "weight": 0.0})[-1]
    assert np.abs(run(start, valley(start), 50, **OPTIONS)[0][-1] - wanted).max() > 0.01


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_bases_are_refreshed_as_often_as_asked(shape):
    start = start_of(shape)
    options = reference_options(OPTIONS)
    wanted = trajectory(start, valley(start), 13, **options, refresh=4)
    closest(run(start, valley(start), 13, **OPTIONS, refresh=4)[0], wanted, 1e-11)
    assert np.abs(wanted[-1] - trajectory(start, valley(start), 13, **options)[-1]).max() > 1e-4


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_rare_projections_take_back_what_was_done_outside_the_span(shape):
    start = start_of(shape)
    options = reference_options(OPTIONS)
    exact, late = (
        trajectory(start, valley(start), 50, **options),
        late_trajectory(start, valley(start), 50, **options, every=4),
    )
    closest(run(start, valley(start), 50, **OPTIONS, project_every=4)[0], late, 1e-11)
    # With short steps it is, after each projection, where the documented update is, and in between it is not.
    options["lr"] = 1e-4
    exact, late = (
        trajectory(start, valley(start), 12, **options),
        late_trajectory(start, valley(start), 12, **options, every=4),
    )
    apart = [np.abs(a - b).max() for a, b in zip(late, exact, strict=True)]
    assert max(apart[3::4]) < 0.03 * max(apart)
    closest(late_trajectory(start, valley(start), 12, **options, every=1), exact, 1e-12)


def test_what_has_no_projection_is_left_alone_by_rare_ones():
    for shape in ((8, 8), (7,)):
        start = start_of(shape)
        path, optimizer = run(start, valley(start), 9, **OPTIONS, project_every=4)
        closest(path, trajectory(start, valley(start), 9, **reference_options(OPTIONS)), 1e-11)
        assert set(next(iter(optimizer.state.values()))) == {"velocity", "step"}


def test_under_a_steady_force_rare_projections_change_nothing_at_last():
    start, force = start_of((12, 5)), start_of((12, 5))
    ends = [
        run(start, lambda value, step: force, 40, lr=1e-7, damping=0.1, weight_decay=0.0, project_every=every)[0][-1]
        for every in (1, 8)
    ]
    np.testing.assert_allclose(ends[1] - start, ends[0] - start, atol=1e-4 * np.abs(ends[0] - start).max())


def test_projections_may_become_rarer_and_more_frequent_between_steps():
    start, force = start_of((12, 5)), start_of((12, 5))
    options = {"lr": 1e-7, "damping": 0.1, "weight_decay": 0.0}
    p = nn.Parameter(torch.tensor(start))
    optimizer = WaveNativeOptimizer([p], **options)
    for every in (1, 8, 3, 1, 4):
        optimizer.param_groups[0]["project_every"] = every
        for _ in range(8):
            p.grad = torch.tensor(force)
            optimizer.step()
    wanted = run(start, lambda value, step: force, 40, **options)[0][-1] - start
    np.testing.assert_allclose(p.detach().numpy() - start, wanted, atol=1e-3 * np.abs(wanted).max(), rtol=0)


@pytest.mark.parametrize(("refresh", "computed"), [(1, 3), (4, 3), (5, 2), (12, 1)])
def test_no_basis_is_computed_for_a_step_that_does_not_project(monkeypatch, refresh, computed):
    asked = []
    monkeypatch.setattr(
        wave_native, "column_basis", lambda stack: asked.append(stack) or projection.column_basis(stack)
    )
    run(start_of((12, 5)), valley(start_of((12, 5))), 12, **OPTIONS, project_every=4, refresh=refresh)
    assert len(asked) == computed


def test_no_svd_and_nothing_at_all_for_square_matrices(monkeypatch):
    """An SVD of each matrix at each step took 22 times as long as AdamW."""
    asked = []
    monkeypatch.setattr(torch.linalg, "svd", None)
    monkeypatch.setattr(
        wave_native, "column_basis", lambda stack: asked.append(stack) or projection.column_basis(stack)
    )
    tall, other, wide, square = (nn.Parameter(torch.randn(s)) for s in ((9, 4), (9, 4), (4, 9), (6, 6)))
    optimizer = WaveNativeOptimizer([tall, square, other, wide], refresh=3)
    for _ in range(4):
        for p in (tall, other, wide, square):
            p.grad = torch.randn_like(p)
        before = torch.stack([tall.detach(), other.detach()])
        optimizer.step()
    assert [tuple(stack.shape) for stack in asked] == [(2, 9, 4), (1, 9, 4)] * 2  # same shapes together, steps 1 and 4
    assert torch.equal(asked[2], before)
    assert set(optimizer.state[square]) == {"velocity", "step"}


def test_large_stacks_are_taken_apart(monkeypatch):
    monkeypatch.setattr(wave_native, "STACKED", 100)
    matrices = [torch.zeros(9, 5) for _ in range(5)]
    assert [len(stack) for stack in wave_native.stacks(matrices)] == [2, 2, 1]


@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (8, 8)])
def test_rank_keeps_the_leading_directions_of_square_matrices_too(shape):
    """A gradient has no part outside, at full weight, and the part inside is the leading subspace's of the SVD."""
    start = start_of(shape)
    options = {"lr": 1.0, "damping": 1.0, "coherence_weight": 1.0, "weight_decay": 0.0}
    force = start_of(shape)
    moved = start - run(start, lambda value, step: force, 1, **options, rank=3)[0][0]
    left, right = projectors(start, 3)
    np.testing.assert_allclose(moved, left @ force @ right, atol=1e-12)
    assert np.linalg.matrix_rank(moved, tol=1e-10) == 3
    assert np.abs(moved - force).max() > 0.1


def test_rank_follows_a_matrix_that_moves():
    spread = np.diag([5.0, 4.0, 3.0, 0.3, 0.2, 0.1])
    start = np.linalg.qr(start_of((9, 6)))[0] @ spread @ np.linalg.qr(start_of((6, 6)))[0].T
    path, optimizer = run(start, valley(start), 30, **{**OPTIONS, "lr": 1e-3}, rank=3)
    (state,) = optimizer.state.values()
    for name, wanted in zip(("left", "right"), projectors(path[-2], 3), strict=True):
        np.testing.assert_allclose((state[name] @ state[name].mT).numpy(), wanted, atol=2e-3)
    wanted = trajectory(start, valley(start), 30, **{**reference_options(OPTIONS), "lr": 1e-3}, rank=3)
    closest(path, wanted, 1e-3)


def test_a_rank_above_the_sides_is_all_directions():
    start = start_of((12, 5))
    wanted = trajectory(start, valley(start), 6, **reference_options(OPTIONS))
    closest(run(start, valley(start), 6, **OPTIONS, rank=99)[0], wanted, 1e-11)


@pytest.mark.parametrize("shape", SHAPES)
def test_adaptive_steps_are_adams_on_the_projected_gradient(shape):
    start = start_of(shape)
    wanted = adaptive_trajectory(start, valley(start), 40, **reference_options(OPTIONS), beta2=0.95)
    closest(run(start, valley(start), 40, **OPTIONS, adaptive=True, beta2=0.95)[0], wanted, 1e-10)


def test_adaptive_without_coherence_is_adamw():
    start = start_of((6, 4))
    path, _ = run(start, valley(start), 20, lr=0.01, damping=0.1, coherence_weight=0.0, weight_decay=0.1, adaptive=True)
    p = nn.Parameter(torch.tensor(start))
    adamw = torch.optim.AdamW([p], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for t in range(20):
        p.grad = torch.as_tensor(valley(start)(p.detach().numpy(), t))
        adamw.step()
    np.testing.assert_allclose(path[-1], p.detach().numpy(), atol=1e-10)


def trained(**options):
    """Return the loss of a small network after 60 steps."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))
    x, y = torch.randn(64, 8), torch.randint(4, (64,))
    optimizer = WaveNativeOptimizer(model.parameters(), weight_decay=0.0, **options)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_adaptive_trains_at_adams_learning_rates():
    """The documented update is momentum without a scale: 120 steps at 6e-4 hardly moved a model that AdamW trained."""
    plain, adaptive = trained(lr=1e-2), trained(lr=1e-2, adaptive=True)
    assert plain > 1.2
    assert adaptive < 0.7


@pytest.mark.parametrize(("curvature", "stable"), [(0.99, True), (1.01, False)])
def test_motion_is_stable_up_to_the_documented_curvature(curvature, stable):
    damping, lr = 0.3, 0.1
    h = curvature * 2 * (2 - damping) / lr
    path, _ = run(np.ones(1), lambda value, step: h * value, 400, lr=lr, damping=damping, weight_decay=0.0)
    assert (abs(path[-1][0]) < 1) == stable


def test_a_steady_gradient_moves_by_lr_over_damping():
    path, _ = run(np.zeros(3), lambda value, step: np.ones(3), 300, lr=0.01, damping=0.1, weight_decay=0.0)
    np.testing.assert_allclose(path[-1] - path[-2], -0.1, rtol=1e-10)


def test_without_memory_at_full_damping():
    path, _ = run(np.zeros(3), lambda value, step: np.ones(3) * (step == 0), 3, lr=0.5, damping=1.0)
    np.testing.assert_allclose(path[0], -0.5)
    np.testing.assert_allclose(path[1], path[0] * (1 - 0.5 * 0.01))


def test_embeddings_and_vectors_are_left_out():
    """Rows of an embedding belong to different tokens; a projection would move tokens that were not seen."""
    table, square = nn.Parameter(torch.randn(9, 4)), nn.Parameter(torch.randn(9, 4))
    groups = [{"params": [table], "coherent": False}, {"params": [square]}]
    optimizer = WaveNativeOptimizer(groups, lr=0.1, weight_decay=0.0)
    before = table.detach().clone(), square.detach().clone()
    for p in (table, square):
        p.grad = torch.zeros_like(p)
        p.grad[2] = 1.0
    optimizer.step()
    seen = torch.arange(9) == 2
    assert torch.equal((table.detach() != before[0]).any(1), seen)
    assert (square.detach() != before[1]).any(1).all()
    assert "left" not in optimizer.state[table]


def test_matrices_without_full_rank():
    """Columns that are there are kept; a matrix of zeros takes the plain part of the gradient and grows."""
    start = np.outer(np.arange(1.0, 7), np.ones(3))
    force = start_of((6, 3))
    moved = start - run(start, lambda v, t: force, 1, lr=1.0, coherence_weight=1.0, weight_decay=0.0)[0][0]
    np.testing.assert_allclose(moved, column_projector(start) @ force, atol=1e-12)
    zero = np.zeros((6, 3))
    path, _ = run(zero, lambda v, t: force, 2, lr=1.0, coherence_weight=0.7, weight_decay=0.0)
    np.testing.assert_allclose(path[0], -0.3 * force, atol=1e-12)
    np.testing.assert_allclose(path[1] - path[0], -0.9 * 0.3 * force - force, atol=1e-10)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_no_number_changes_nothing_and_is_named(bad):
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    for optimizer, name in (
        (WaveNativeOptimizer(model.parameters()), "parameter 2 of group 0"),
        (WaveNativeOptimizer(model.named_parameters()), "1.weight"),
    ):
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        model[1].weight.grad[1, 3] = bad
        before = copy.deepcopy(model.state_dict())
        with pytest.raises(ValueError, match=rf"the gradient of {name}, shape \(2, 6\), holds NaN or infinity"):
            optimizer.step()
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert not optimizer.state


def test_a_long_gradient_is_still_a_gradient():
    p = nn.Parameter(torch.zeros(4))
    p.grad = torch.full_like(p, 1e30)
    WaveNativeOptimizer([p], lr=1e-30, weight_decay=0.0).step()
    torch.testing.assert_close(p.detach(), torch.full((4,), -1.0))


def test_a_sparse_gradient_is_refused():
    table = nn.Embedding(5, 3, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="a gradient is sparse; .*sparse=False"):
        WaveNativeOptimizer(table.parameters()).step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr=-1.0"),
        ({"lr": math.nan}, "lr=nan"),
        ({"damping": 2.0}, "damping=2.0"),
        ({"damping": -0.1}, "damping=-0.1"),
        ({"coherence_weight": -0.1}, "coherence_weight=-0.1"),
        ({"coherence_weight": 1.1}, "coherence_weight=1.1"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"refresh": 0}, "refresh=0"),
        ({"project_every": 0}, "project_every=0"),
        ({"project_every": 2, "adaptive": True}, "project_every=2 with adaptive=True; wanted 1"),
        ({"rank": 0}, "rank=0"),
        ({"beta2": 1.0}, "beta2=1.0"),
        ({"adaptive": True, "damping": 0.0}, "damping=0 with adaptive=True"),
    ],
)
def test_options_out_of_range_are_refused_in_groups_too(options, message):
    p = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(ValueError, match=message):
        WaveNativeOptimizer([p], **options)
    optimizer = WaveNativeOptimizer([nn.Parameter(torch.ones(1))])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [p], **options})
    assert len(optimizer.param_groups) == 1


def test_half_precision_is_refused():
    optimizer = WaveNativeOptimizer([nn.Parameter(torch.ones(1))])
    with pytest.raises(ValueError, match=r"parameters in torch.bfloat16; wanted float32 or float64"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2, dtype=torch.bfloat16))]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    "more",
    [{"refresh": 5}, {"project_every": 3, "refresh": 5}, {"rank": 2, "refresh": 2}, {"adaptive": True, "refresh": 3}],
)
def test_a_saved_state_continues_bit_for_bit(more, tmp_path):
    def model():
        torch.manual_seed(4)
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 6), nn.Linear(6, 6))

    def steps(model, optimizer, numbers):
        for n in numbers:
            optimizer.zero_grad()
            model(torch.full((2, 6), math.sin(n))).square().sum().backward()
            optimizer.step()

    whole, parts = model(), model()
    steps(whole, WaveNativeOptimizer(whole.parameters(), lr=0.01, **more), range(12))
    first = WaveNativeOptimizer(parts.parameters(), lr=0.01, **more)
    steps(parts, first, range(7))
    save_tree(first.state_dict(), tmp_path / "optimizer.safetensors")
    copied_model, copied = copy.deepcopy((parts, first))
    second = WaveNativeOptimizer(parts.parameters(), lr=0.5)
    second.load_state_dict(load_tree(tmp_path / "optimizer.safetensors"))
    steps(parts, second, range(7, 12))
    steps(copied_model, copied, range(7, 12))
    for a, b, c in zip(whole.parameters(), parts.parameters(), copied_model.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_closure_gives_loss_and_gradients():
    p = nn.Parameter(torch.ones(3))
    optimizer = WaveNativeOptimizer([p], lr=0.1, weight_decay=0.0)

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    torch.testing.assert_close(p.detach(), torch.full((3,), 0.8))
    assert WaveNativeOptimizer([nn.Parameter(torch.ones(2))]).step() is None
