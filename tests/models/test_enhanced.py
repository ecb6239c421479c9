"""All enhancements together: causal, each with its effect, trained by one loss."""

import pytest
import torch

from undula.losses.sparsification import HarmonicSparsificationLoss
from undula.models.enhanced import EnhancedWaveTransformer

H = 16


def stack(**options):
    torch.manual_seed(0)
    built = EnhancedWaveTransformer(H, band_num_layers=(2, 1, 1), n_heads_q=4, n_heads_kv=2, **options).double()
    with torch.no_grad():
        for p in built.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return built


def waves(steps=8, seed=0):
    x = torch.randn(2, steps, 3 * H, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x[..., :H] = x[..., :H].abs()
    return x


def test_the_documented_arguments_are_there():
    built = EnhancedWaveTransformer(num_harmonics=H)
    assert (built.d_model, built.selector.base_k, len(built.pyramid.bands)) == (48, 8, 3)


def test_no_output_depends_on_later_inputs_in_use_or_in_training():
    built, x, y = stack(), waves(), waves()
    y[:, 5:] = waves(seed=3)[:, 5:]
    for mode in (False, True):
        built.train(mode)
        outputs = []
        for each in (x, y):
            torch.manual_seed(1)
            outputs.append(built(each, freq_limit=0.5)[0])
        torch.testing.assert_close(outputs[0][:, :5], outputs[1][:, :5])
        assert (outputs[0][:, 5:] - outputs[1][:, 5:]).abs().max() > 1e-3


def test_the_limit_counts_in_training_alone_and_each_part_has_an_effect():
    built, x = stack(dropout=0.0).eval(), waves()
    built.selector.noise = 0.0
    whole, stats = built(x)
    assert torch.equal(built(x, freq_limit=0.2)[0], whole)
    assert (built(x, use_sparsification=False)[0] - whole).abs().max() > 1e-3
    assert built(x, use_sparsification=False)[1] is None
    built.train()
    torch.testing.assert_close(built(x)[0], whole)
    assert (built(x, freq_limit=0.2)[0] - whole).abs().max() > 1e-3
    assert stats["selection_mask"].sum(-1).min() >= 8


def test_padding_stays_apart():
    built, x, y = stack().eval(), waves(), waves()
    mask = torch.ones(2, 8)
    mask[0, :3] = 0
    y[0, :3] = waves(seed=4)[0, :3]
    first, second = (built(each, attention_mask=mask)[0] for each in (x, y))
    torch.testing.assert_close(first[0, 3:], second[0, 3:])


def test_padding_is_in_no_average():
    x, mask, learned = waves(), torch.ones(2, 8), []
    mask[0, :3] = 0
    for padding in (waves(seed=4), waves(seed=5)):
        y = x.clone()
        y[0, :3] = 10 * padding[0, :3]
        built = stack().train()
        built.selector.noise = 0.0
        _, stats = built(y, attention_mask=mask)
        learned.append((built.selector.ema_use.clone(), stats["actual_k_mean"]))
    assert torch.equal(learned[0][0], learned[1][0])
    assert torch.equal(learned[0][1], learned[1][1])


def test_one_loss_reaches_everything():
    built = stack().train()
    output, stats = built(waves(), freq_limit=0.7)
    (output.square().mean() + 0.01 * HarmonicSparsificationLoss(0.3)(stats)["total"]).backward()
    assert [name for name, p in built.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_width_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="60 wide, wanted 3 x num_harmonics=48"):
        stack()(torch.zeros(1, 2, 60, dtype=torch.float64))
