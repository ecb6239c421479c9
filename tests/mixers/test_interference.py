"""Interference attention as documented, its additions, and its linear-time form."""

import pytest
import torch

from tests.contract.cases import moved
from tests.reference.interference import linear_mixer
from undula.mixers.interference import InterferenceAttention
from undula.mixers.interference_linear import InterferenceLinearAttention
from undula.nn.interfering_waves import evolved_phase


def test_projections_are_the_documented_ones():
    mixer = InterferenceAttention(12, 3)
    assert (mixer.num_waves, mixer.dropout_p, mixer.normalisation, mixer.contrast) == (16, 0.1, "none", 1.0)
    for layer in (mixer.freq_proj, mixer.phase_proj, mixer.amp_proj):
        assert layer.weight.shape == (48, 12)
    assert InterferenceAttention.build(12, 3).dropout_p == 0.0


def test_outputs_are_weights_times_values():
    mixer = moved(InterferenceAttention(8, 2, 5, dropout=0.0)).double()
    x = torch.randn(2, 9, 8, dtype=torch.float64)
    weights = mixer.get_interference_weights(x)
    assert weights.shape == (2, 2, 9, 9)
    values = mixer.value_proj(x).view(2, 9, 2, 4).transpose(1, 2)
    want = mixer.out_proj((weights @ values).transpose(1, 2).reshape(2, 9, 8))
    torch.testing.assert_close(mixer(x), want, atol=1e-12, rtol=0)


def test_normalised_weights_add_up_to_one_and_outputs_keep_their_size():
    """Without it, outputs grow with the number of keys: 10 times from the start to position 255."""
    x = torch.randn(4, 256, 16)
    growth = {}
    for kind in ("none", "sum"):
        torch.manual_seed(0)
        mixer = InterferenceAttention(16, 2, 8, dropout=0.0, normalisation=kind)
        torch.nn.init.zeros_(mixer.value_proj.weight)
        mixer.value_proj.weight.data.diagonal().fill_(1)
        y = mixer(torch.cat([x[..., :15], torch.ones(4, 256, 1)], dim=-1)).square().mean((0, 2)).sqrt()
        growth[kind] = (y[-1] / y[0]).item()
        total = mixer.get_interference_weights(x).sum(-1)
        assert total[..., -1].min() > 60 if kind == "none" else (total - 1).abs().max() < 1e-5
    assert growth["none"] > 20
    assert growth["sum"] < 2


def test_contrast_separates_weights():
    x = torch.randn(2, 64, 16)
    spread = []
    for contrast in (1.0, 8.0):
        torch.manual_seed(0)
        mixer = InterferenceAttention(16, 2, 32, dropout=0.0, normalisation="sum", contrast=contrast)
        last = mixer.get_interference_weights(x)[:, :, -1]
        spread.append((last.amax(-1) / last.amin(-1)).min().item())
    assert spread[1] == pytest.approx(spread[0] ** 8, rel=1e-3)
    assert spread[1] > 5 * spread[0]


def test_dropout_acts_in_training_alone():
    mixer = InterferenceAttention(8, 2, dropout=0.5)
    x = torch.randn(2, 9, 8)
    assert (mixer(x) - mixer(x)).abs().max() > 1e-3
    mixer.eval()
    assert torch.equal(mixer(x), mixer(x))


def test_evolved_phases_carry_positions_that_equal_frequencies_do_not():
    """Literally, waves of one frequency have no time: the formula knows differences of frequencies alone."""
    x = torch.randn(1, 9, 8, dtype=torch.float64)
    swapped = x[:, [3, 1, 0, 2, 7, 5, 4, 6, 8]]
    for formulation, change in (("literal", False), ("evolved", True)):
        mixer = InterferenceAttention(8, 2, dropout=0.0, formulation=formulation).double()
        torch.nn.init.zeros_(mixer.freq_proj.weight)
        assert ((mixer(x) - mixer(swapped))[:, -1].abs().max() > 1e-4).item() is change


def test_evolved_phases_are_exact_at_late_positions():
    phase = torch.zeros(1, 2, 1, 3)
    position = torch.tensor([[1_000_000]])
    got = evolved_phase(phase, phase, torch.zeros(2, 3), position)
    ladder = 0.001 ** (torch.tensor([[0, 2, 4], [1, 3, 5]], dtype=torch.float64) / 5)
    angle = (1e6 * ladder)[None, :, None]
    torch.testing.assert_close(got.cos().double(), angle.cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(got.sin().double(), angle.sin(), atol=1e-5, rtol=0)


def test_linear_state_does_not_grow_and_continues_far_away():
    mixer = moved(InterferenceLinearAttention(8, 2, 5)).double()
    x = torch.randn(1, 70, 8, dtype=torch.float64)
    y, state = mixer(x, state=mixer.init_state(1, dtype=torch.float64))
    assert state.intensities.shape == (1, 2, 12, 4)
    assert state.energies.shape == (1, 2, 7, 1)
    parameters = {name: p.detach().numpy() for name, p in mixer.named_parameters()}
    want = torch.from_numpy(linear_mixer(x.numpy(), parameters, 2))
    torch.testing.assert_close(y, want, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_model": 30, "num_heads": 4}, "d_model=30 is not a multiple of num_heads=4; change one of them"),
        ({"d_model": 32, "num_heads": 4, "num_waves": 0}, "num_waves=0 is not positive"),
        ({"d_model": 32, "num_heads": 4, "contrast": 0.0}, "contrast=0.0 is not positive"),
        ({"d_model": 32, "num_heads": 4, "formulation": "evolve"}, "did you mean 'evolved'"),
        ({"d_model": 32, "num_heads": 4, "normalisation": "rows"}, "unknown normalisation 'rows'; known: none, sum"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        InterferenceAttention(**arguments)
