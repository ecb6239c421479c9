"""The selector: one rule for training and use, each position for itself, gradients that reach all of it."""

import pytest
import torch

from undula.losses.sparsification import HarmonicSparsificationLoss
from undula.nn.harmonic_gather import HarmonicGather
from undula.nn.harmonic_selector import AdaptiveHarmonicSelector

H = 12


def selector(moved=True, dtype=torch.float64, **options):
    torch.manual_seed(0)
    built = AdaptiveHarmonicSelector(H, 3 * H, **{"min_k": 3, **options}).to(dtype)
    if moved:
        for p in built.parameters():
            torch.nn.init.normal_(p, std=0.4)
    return built


def waves(steps=6, seed=1):
    return torch.randn(2, steps, 3 * H, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dynamic", [False, True])
def test_as_many_are_kept_in_training_as_in_use(dynamic):
    built, x = selector(use_dynamic_k=dynamic), waves()
    kept = [built.train(mode).select(x)["selection_mask"].sum(-1) for mode in (True, False)]
    assert torch.equal(*kept)
    assert (kept[0].unique().numel() > 1) is dynamic


@pytest.mark.parametrize("dynamic", [False, True])
def test_without_noise_training_chooses_what_use_does(dynamic):
    built, x = selector(use_dynamic_k=dynamic), waves(steps=50)
    built.noise = 0.0
    chosen = [built.train(mode).select(x)["selection_mask"] for mode in (True, False)]
    assert torch.equal(*chosen)


def test_statistics_are_of_what_was_chosen():
    built, x = selector(use_dynamic_k=True).train(), waves()
    stats = built.select(x)
    kept = stats["selection_mask"].sum(-1)
    assert torch.equal(stats["k_values"], kept.long())
    assert stats["actual_k_mean"].item() == pytest.approx(kept.mean().item())
    assert stats["sparsity"].item() == pytest.approx(1 - kept.mean().item() / H)
    assert stats["ema_sparsity"].item() == pytest.approx(0.99 * 0.5 + 0.01 * stats["sparsity"].item())
    assert "k_values" not in selector(use_dynamic_k=False).select(x)


def test_its_loss_leads_it_to_the_wanted_sparsity():
    built, loss = selector(moved=False, k_ratio=0.9, use_dynamic_k=True, min_k=1), HarmonicSparsificationLoss(0.6)
    optimizer = torch.optim.Adam(built.parameters(), lr=0.02)
    for step in range(150):
        optimizer.zero_grad()
        _, stats = built(waves(seed=step % 4))
        loss(stats)["total"].backward()
        optimizer.step()
    assert stats["sparsity"].item() == pytest.approx(0.6, abs=0.1)


def test_no_position_depends_on_later_ones_or_on_other_rows():
    built, x = selector(use_dynamic_k=True).train(), waves()
    other = x.clone()
    other[0, 3:], other[1] = waves(seed=5)[0, 3:], waves(seed=6)[1]
    torch.manual_seed(3)
    first, _ = built(x)
    torch.manual_seed(3)
    second, _ = built(other)
    assert torch.equal(first[0, :3], second[0, :3])
    assert not torch.equal(first[0, 3:], second[0, 3:])


def test_every_parameter_learns_where_k_is_dynamic():
    built = selector(moved=False, use_dynamic_k=True).train()
    out, stats = built(waves())
    (out.square().sum() + stats["expected_k"].sum()).backward()
    assert [name for name, p in built.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_gradients_are_those_of_a_choice_of_k():
    """Of a softmax, which sums to 1, they would be about k times too small."""
    built = selector(moved=False, use_dynamic_k=False, k_ratio=0.5, temperature=0.7).eval()
    stats = built.select(waves())
    soft, scores = stats["soft_mask"], stats["importance_scores"]
    torch.testing.assert_close(soft.sum(-1), torch.full((2, 6), 6.0, dtype=torch.float64))
    direction = torch.randn(2, 6, H, dtype=torch.float64)
    (found,) = torch.autograd.grad((direction * soft).sum(), scores)
    slope = (soft * (1 - soft)).detach() / 0.7
    want = slope * (direction - (slope * direction).sum(-1, keepdim=True) / slope.sum(-1, keepdim=True))
    torch.testing.assert_close(found, want)


def test_the_temperature_decides_how_random_the_choice_is():
    x, agree = waves(steps=200), []
    for temperature in (1e-3, 100.0):
        built = selector(use_dynamic_k=False, temperature=temperature)
        chosen = [built.train(mode).select(x)["selection_mask"] for mode in (True, False)]
        agree.append((chosen[0] * chosen[1]).sum() / chosen[1].sum())
    assert agree[0] > 0.99
    assert agree[1] < 0.6


def test_amplitudes_count_by_their_size():
    built = selector(moved=False, use_dynamic_k=False, k_ratio=0.25).eval()
    x = torch.zeros(1, 1, 3 * H, dtype=torch.float64)
    x[..., H + 4], x[..., H + 7], x[..., H + 9] = -8.0, 9.0, 7.0
    for p in built.score.parameters():
        torch.nn.init.zeros_(p)
    assert built.select(x)["selection_mask"].nonzero()[:, -1].tolist() == [4, 7, 9]
    assert torch.isfinite(built(torch.zeros_like(x))[0]).all()


def test_a_dynamic_k_starts_at_the_ratio_and_averages_follow():
    built = selector(moved=False, k_ratio=0.5, use_dynamic_k=True).train()
    for _ in range(3):
        _, stats = built(waves())
    assert float(stats["ema_k"]) == pytest.approx(6, abs=0.5)
    assert built.ema_use.sum().item() == pytest.approx(built.ema_k.item())
    before = built.ema_k.clone()
    built.eval()(10 * waves())
    assert torch.equal(before, built.ema_k)


def test_silent_statistics_can_be_left_out_and_all_kept():
    out, stats = selector(k_ratio=1.0, use_dynamic_k=False)(waves(), return_stats=False)
    assert stats is None
    assert torch.equal(out, waves())
    assert selector(min_k=99).base_k == H


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 13), "d_model=13 is not 3 x num_harmonics=12"),
        ((4, 12, 0.0), "k_ratio=0.0"),
        ((4, 12, 1.5), "k_ratio=1.5"),
        ((4, 12, 0.5, 0.0), "temperature=0.0"),
        ((4, 12, 0.5, 1.0, 0), "min_k=0"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveHarmonicSelector(*arguments)
    with pytest.raises(ValueError, match="30 wide, wanted 3 x num_harmonics=36"):
        selector().select(torch.zeros(1, 2, 30, dtype=torch.float64))


def test_the_loss_is_bounded_and_blind_to_padding():
    loss, built = HarmonicSparsificationLoss(0.5, 0.1, 0.05), selector(use_dynamic_k=True).train()
    stats = built.select(waves())
    found = loss(stats)
    assert 0 <= found["total"] <= 1 + 0.1 + 0.05
    parts = found["sparsity"] + 0.1 * found["smoothness"] + 0.05 * found["temporal"]
    assert found["total"].item() == pytest.approx(parts.item())
    kept = stats["expected_k"].mean() / H
    assert found["sparsity"].item() == pytest.approx((kept.item() - 0.5) ** 2)
    soft = stats["soft_mask"]
    assert found["smoothness"].item() == pytest.approx(soft.diff(dim=-1).square().mean().item())
    assert found["temporal"].item() == pytest.approx(soft.diff(dim=1).square().mean().item())
    real = torch.ones(2, 6)
    real[:, 4:] = 0
    cut = {name: value[:, :4] for name, value in stats.items() if name in ("soft_mask", "expected_k")}
    for name, value in loss(cut).items():
        torch.testing.assert_close(loss(stats, real)[name], value)
    nothing = loss(stats, torch.zeros(2, 6))
    assert torch.isfinite(nothing["total"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1.5,), "target_sparsity=1.5"), ((0.5, -1.0), "smoothness_weight"), ((0.5, 0.1, -1.0), "temporal_weight")],
)
def test_a_loss_out_of_range_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HarmonicSparsificationLoss(*arguments)


def test_what_was_gathered_becomes_a_representation_of_all_harmonics():
    built, x = selector(use_dynamic_k=False, k_ratio=0.5).eval(), waves()
    gather = HarmonicGather(H, 6).double()
    sparse, _ = built(x)
    narrow = gather.narrow(sparse)
    assert (narrow.shape, gather.widen(narrow).shape) == ((2, 6, 18), (2, 6, 36))
    with pytest.raises(ValueError, match="kept=13 of num_harmonics=12"):
        HarmonicGather(H, 13)


def test_nothing_of_what_is_kept_is_lost():
    """3 k channels hold any 3 k numbers, whichever k harmonics they belong to."""
    gather = HarmonicGather(H, 6).double()
    for _ in range(20):
        kept = torch.randperm(H)[:6]
        columns = torch.cat([kept, kept + H, kept + 2 * H])
        assert torch.linalg.matrix_rank(gather.narrow.weight[:, columns]) == 18


def test_the_choice_learns_from_what_was_gathered():
    built, gather = selector(use_dynamic_k=False, k_ratio=0.5).eval(), HarmonicGather(H, 6).double()
    gather.narrow(built(waves())[0]).square().sum().backward()
    assert [name for name, p in built.named_parameters() if p.grad is None or not p.grad.any()] == []
