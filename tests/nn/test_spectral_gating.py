"""Gates on spectra: against the definition, and everything that is documented has its effect."""

import copy

import numpy as np
import pytest
import torch

from tests.contract.cases import moved
from tests.reference import spectrum as reference
from undula.nn.frequency_selector import AdaptiveFrequencySelector, KeptBins
from undula.nn.spectral_gating import AdvancedSpectralGating
from undula.ops.fft import irfft, rfft

HEADS, DIM = 2, 6


def gating(**options):
    torch.manual_seed(0)
    built = AdvancedSpectralGating(DIM, HEADS, **{"dropout": 0.0, **options})
    return moved(built).double()


def spectra(*batch, bins=9, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, bins, DIM, dtype=torch.complex128, generator=generator)


def values_of(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


@pytest.mark.parametrize("options", [{}, {"num_freq_bands": 3}, {"phase_aware": False}])
@pytest.mark.parametrize("bins", [5, 33])
def test_values_equal_the_definition(options, bins):
    built, x = gating(**options), spectra(2, 3, bins=bins)
    got = built(x)
    uneven = []
    for i in np.ndindex(2, 3):
        want, term = reference.gating(x[i].numpy(), values_of(built), HEADS, built.num_freq_bands)
        np.testing.assert_allclose(got[i].detach().numpy(), want, atol=1e-12)
        uneven.append(term)
    assert built.aux_loss().item() == pytest.approx(np.mean(uneven), abs=1e-12)


def test_gradients_equal_differences():
    built, x = gating(), spectra(1, bins=5).requires_grad_()
    names, parameters = zip(*built.named_parameters(), strict=True)

    def run(x, *values):
        return torch.func.functional_call(built, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)


def test_every_parameter_learns_from_the_start_also_from_the_entropy_term():
    torch.manual_seed(0)
    built = AdvancedSpectralGating(DIM, HEADS)
    x = spectra(2, 3).to(torch.complex64)
    (built(x) * spectra(2, 3, seed=2)).real.sum().backward()
    assert [name for name, p in built.named_parameters() if p.grad is None or not p.grad.any()] == []
    built.zero_grad()
    built(x)
    built.aux_loss().backward()
    assert [name for name, p in built.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-7] == []


def test_gates_are_a_filter_and_follow_the_input():
    built, x = gating(), spectra(1, bins=33)
    response = built.response(x).filter
    assert response.abs().std(-1).min() > 1e-3
    assert (built.response(spectra(1, bins=33, seed=2)).filter - response).abs().max() > 1e-3
    louder = torch.cat([x[:, :2], 30 * x[:, 2:]], dim=1)
    assert (built.response(louder).filter - response).abs().max() > 1e-2


def test_gates_go_by_frequency_not_by_the_number_of_bins():
    """The same sound in frames of another length has the same gates."""
    built = gating()
    coarse = built.response(torch.ones(1, 33, DIM, dtype=torch.complex128)).filter
    fine = built.response(torch.ones(1, 129, DIM, dtype=torch.complex128)).filter
    torch.testing.assert_close(coarse, fine[..., ::4], atol=0.03, rtol=0)


def test_a_real_signal_stays_real_and_a_delay_commutes():
    """Nothing may stand in the imaginary part of the lowest and highest bin: a transform back would lose it."""
    built = gating()
    signal = torch.randn(2, DIM, 16, dtype=torch.float64)

    def gated(y):
        return built(rfft(y).transpose(1, 2)).transpose(1, 2)

    spectrum = gated(signal)
    assert spectrum[..., [0, -1]].imag.abs().max() < 1e-12
    moved_on = irfft(gated(signal.roll(5, -1)), 16)
    torch.testing.assert_close(moved_on, irfft(spectrum, 16).roll(5, -1))


def test_silence_is_silent_with_finite_gradients():
    built, x = gating(), torch.zeros(2, 9, DIM, dtype=torch.complex128, requires_grad=True)
    y = built(x)
    (y.real.sum() + y.imag.sum() + built.aux_loss()).backward()
    assert not y.any()
    assert all(t.grad is None or t.grad.isfinite().all() for t in (x, *built.parameters()))


def test_each_frame_has_gates_of_its_own():
    built, x = gating(), spectra(2, 3)
    torch.testing.assert_close(built(x)[:, 1], built(x[:, 1]))
    torch.testing.assert_close(built(x)[1, 2], built(x[1, 2]))


def test_a_band_of_a_sample_is_dropped_whole():
    """In real and imaginary part, frames and heads at once; what is kept is scaled, so that the mean stays."""
    built = gating(dropout=0.5, num_freq_bands=2).train()
    built.across.eval()
    x = torch.ones(4000, 2, 9, DIM, dtype=torch.complex128)
    torch.manual_seed(0)
    drawn, plain = built.response(x).filter, built.eval().response(x).filter
    share = drawn / plain
    assert share.imag.abs().max() < 1e-12
    # Each sample has its own draw; the highest bins are in the upper band alone.
    for f in (0, -1):
        assert set(share.real[..., f].round(decimals=6).unique().tolist()) == {0, 2}
        assert torch.equal(*torch.broadcast_tensors(share.real[..., f] > 1, share.real[:, :1, :1, f] > 1))
        assert share.real[..., f].mean().item() == pytest.approx(1, abs=0.05)
    both = ((share.real[:, 0, 0, 0] > 1) == (share.real[:, 0, 0, -1] > 1)).double().mean()
    assert both.item() == pytest.approx(0.5, abs=0.05)


def test_dropout_changes_nothing_in_evaluation_mode():
    built, x = gating(dropout=0.5).eval(), spectra(2)
    assert torch.equal(built(x), built(x))
    assert not torch.equal(built.train()(x), built.eval()(x))


def test_the_entropy_term_rewards_use_of_all_frequencies():
    built = gating()
    peaked = torch.full((1, 33, DIM), 1e-3, dtype=torch.complex128)
    peaked[:, 5] = 1
    terms = []
    for x in (peaked, torch.ones_like(peaked)):
        built(x)
        terms.append(built.aux_loss().item())
    assert terms[0] > 0.9 > 0.3 > terms[1]


def test_the_entropy_term_is_taken_once_and_only_of_real_frames():
    built, x = gating(), spectra(2, 3)
    assert built.aux_loss() is None
    built(x, real=torch.tensor([[True, True, False], [True, False, False]]))
    got = built.aux_loss()
    assert built.aux_loss() is None
    built(torch.stack([x[0, 0], x[0, 1], x[1, 0]]))
    torch.testing.assert_close(got, built.aux_loss())
    built(x, real=torch.zeros(2, 3, dtype=torch.bool))
    assert built.aux_loss().item() == 0
    with torch.no_grad():
        built(x)
    assert built.aux_loss() is None
    built(x)
    assert copy.deepcopy(built).aux_loss() is None


def test_kept_bins_are_filtered_as_in_the_whole():
    built, x = gating(), spectra(2, 3, bins=17)
    selector = moved(AdaptiveFrequencySelector(DIM, 0.3, HEADS)).double().eval()
    bins = selector.select(x)
    got = built.on_kept(bins, built.response(x))
    term = built.aux_loss()
    whole = built(x).unflatten(-1, (HEADS, -1)).movedim(-2, 2)
    want = torch.where(bins.kept[..., None], whole.take_along_dim(bins.index[..., None], 3), 0)
    torch.testing.assert_close(got, want)
    all_bins = torch.arange(17).expand(2, 3, HEADS, 17)
    values = x.unflatten(-1, (HEADS, -1)).movedim(-2, 2)
    everything = KeptBins(values, all_bins, torch.ones_like(all_bins, dtype=torch.bool))
    torch.testing.assert_close(built.on_kept(everything, built.response(x)), whole)
    # Bins that are not there are not holes in the spectrum.
    assert 0 < term < built.aux_loss() + 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((6, 4), "dim=6 is not a multiple of num_heads=4"), ((6, 0), "num_heads=0"), ((6, 2, 0), "num_freq_bands=0")],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdvancedSpectralGating(*arguments)
