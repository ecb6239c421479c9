"""The selector of frequencies: one rule in training and use, gradients to all of it, work for what is kept."""

import numpy as np
import pytest
import torch

from tests.contract.cases import moved
from tests.reference import spectrum as reference
from undula.nn.frequency_selector import AdaptiveFrequencySelector, _soft
from undula.nn.shares import LEAST, MOST
from undula.ops.bins import scatter_bins
from undula.ops.spectral_gate import magnitudes

HEADS, DIM = 2, 8


def selector(share=0.15, start=False, **options):
    torch.manual_seed(0)
    built = AdaptiveFrequencySelector(DIM, share, HEADS, **options)
    return (built if start else moved(built)).double()


def spectra(*batch, bins=33, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, bins, DIM, dtype=torch.complex128, generator=generator)


@pytest.mark.parametrize(
    "options",
    [{}, {"num_freq_bands": 2}, {"cross_frequency": False}, {"share": 0.2, "adaptive": False}, {"share": 0.44}],
)
@pytest.mark.parametrize("bins", [1, 9, 33, 40])
def test_the_choice_equals_the_definition(options, bins):
    built, x = selector(**options).eval(), spectra(2, 3, bins=bins)
    values = {name: p.detach().numpy() for name, p in built.named_parameters()}
    share = None if options.get("adaptive", True) else options["share"]
    filtered, mask = built(x)
    for i in np.ndindex(2, 3):
        if bins == 1:
            want = np.ones((HEADS, 1))
        else:
            want = reference.selection(x[i].numpy(), values, HEADS, len(built.scorers), share)
        np.testing.assert_array_equal(mask[i].detach().numpy().T, want)
    assert torch.equal(filtered.detach(), torch.where(mask.bool().repeat_interleave(DIM // HEADS, -1), x, 0))


@pytest.mark.parametrize("adaptive", [True, False])
def test_training_keeps_as_many_as_use_by_the_same_rule(adaptive):
    built, x = selector(adaptive=adaptive), spectra(2, 3)
    masks = [built.train(mode)(x)[1] for mode in (True, False)]
    assert torch.equal(masks[0].sum(-2), masks[1].sum(-2))
    assert not torch.equal(*masks)
    built.noise = 0.0
    assert torch.equal(built.train()(x)[1], masks[1])
    assert torch.equal(built(x)[0], built.eval()(x)[0])


def test_the_relaxation_sums_to_what_is_kept():
    """Of a softmax, which sums to 1, gradients would be k times too small, and its values no choice at all."""
    built, x = selector(start=True).train(), spectra(2)
    draws = built.draws(magnitudes(x))
    torch.testing.assert_close(_soft(draws).sum(-1), draws.k.double())
    with torch.no_grad():
        assert _soft(built.draws(magnitudes(x))) is None


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"adaptive": False}, {"cross_frequency": False}])
def test_every_parameter_learns(options, training):
    built = selector(start=True, **options).train(training)
    weights = torch.rand(2, 33, DIM, dtype=torch.float64)
    (built(spectra(2))[0].abs() * weights).sum().backward()
    dead = [name for name, p in built.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9]
    assert dead == []


def test_how_many_are_kept_has_a_gradient():
    built = selector(start=True).eval()
    _, mask = built(spectra(2))
    mask.sum().backward()
    assert (built.offset.grad > 0).all()


def test_the_start_share_is_the_share_kept_at_the_start():
    shares = {}
    for share in (0.15, 0.3, 0.42):
        kept = selector(share, start=True).eval()(spectra(8, bins=201))[1].mean()
        shares[share] = kept.item()
    assert shares == pytest.approx({share: share for share in shares}, abs=0.03)
    fixed = selector(0.05, adaptive=False).eval()(spectra(4, bins=201))[1]
    assert fixed.sum(-2).unique().tolist() == [10]


def test_each_head_keeps_between_12_and_45_percent():
    built = selector().eval()
    with torch.no_grad():
        built.offset.copy_(torch.tensor([-50.0, 50.0]))
    kept = built(spectra(3, bins=200))[1].sum(-2)
    assert kept.tolist() == [[LEAST * 200, MOST * 200]] * 3
    assert built.room(200) == MOST * 200


def test_the_number_kept_depends_on_the_input():
    kept = selector().eval()(spectra(20, bins=201) * torch.rand(20, 1, DIM, dtype=torch.float64) ** 4)[1].sum(-2)
    assert kept[:, 0].unique().numel() > 1


def test_a_choice_goes_by_frequency_not_by_place():
    built, x = selector().eval(), spectra(2)
    assert not torch.equal(built(x)[1], built(x.flip(1))[1].flip(1))
    # Phases, and with them delays, change nothing.
    turned = x * torch.polar(torch.ones(33, 1), 5 * torch.rand(33, 1)).to(x.dtype)
    assert torch.equal(built(x)[1], built(turned)[1])


def test_neighbours_count_by_pooling():
    """Through the coarsest scorer the score of a bin depends on the seven beside it, and on no others."""
    built = selector(adaptive=False, cross_frequency=False, start=True).eval()
    x = spectra(1)
    other = x.clone()
    other[:, 8], other[:, 16] = spectra(2, seed=5)[:, :1].unbind()
    with torch.no_grad():
        change = (built.draws(magnitudes(other)).scores - built.draws(magnitudes(x)).scores).abs()[0]
    torch.nn.init.zeros_(built.scorers[3][0].weight)
    with torch.no_grad():
        alone = (built.draws(magnitudes(other)).scores - built.draws(magnitudes(x)).scores).abs()[0]
    moved_by = (change - alone).abs().amax(0)
    assert moved_by[8:24].min() > 1e-5
    assert max(moved_by[:8].max(), moved_by[24:].max()) < 1e-12


def test_a_low_temperature_chooses_as_in_use():
    x, agree = spectra(20), []
    for value in (-20.0, 20.0):
        built = selector(start=True)
        torch.nn.init.constant_(built.temperature, value)
        masks = [built.train(mode)(x)[1] for mode in (True, False)]
        agree.append(((masks[0] * masks[1]).sum() / masks[1].sum()).item())
    assert agree[0] > 0.7 > 0.4 > agree[1]


@pytest.mark.parametrize("adaptive", [True, False])
def test_gathered_bins_are_those_of_the_mask(adaptive):
    built, x = selector(adaptive=adaptive).eval(), spectra(2, 3)
    filtered, mask = built(x)
    bins = built.select(x)
    assert bins.values.shape == (2, 3, HEADS, int(mask.sum(-2).max()), DIM // HEADS)
    torch.testing.assert_close(scatter_bins(bins.values, bins.index, 33), filtered, atol=0, rtol=0)
    assert torch.equal(bins.kept.sum(-1), mask.sum(-2).long())


def test_gathered_bins_teach_as_the_mask_does():
    """Where later work leaves out what is not kept, its gradient is the same."""
    x, grads = spectra(2), []
    weights = spectra(2, seed=3)
    for gathered in (True, False):
        built = selector(start=True).eval()
        y = built(x)[0]
        if gathered:
            bins = built.select(x)
            y = scatter_bins(bins.values, bins.index, 33)
        kept = torch.where(y.detach() == 0, 0, y)
        (kept * weights).real.sum().backward()
        grads.append([p.grad for p in built.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_silence_has_finite_gradients():
    built, x = selector(start=True), torch.zeros(2, 33, DIM, dtype=torch.complex128, requires_grad=True)
    y, _ = built(x)
    (y.real.sum() + y.imag.sum()).backward()
    assert all(t.grad.isfinite().all() for t in (x, *built.parameters()))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((6, 0.15, 4), {}, "dim=6 is not a multiple of num_heads=4"),
        ((8, 0.15, 2, 0), {}, "num_freq_bands=0"),
        ((8, 0.6, 2), {}, "base_sparsity=0.6; an adaptive selector keeps 0.12 to 0.45"),
        ((8, 0.0, 2), {"adaptive": False}, "base_sparsity=0.0; wanted a share above 0"),
    ],
)
def test_what_cannot_be_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveFrequencySelector(*arguments, **options)
