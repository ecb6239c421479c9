"""Phase-coherent attention as documented: its blend, its phases, its positions, and what the earlier one got wrong."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.contract.cases import moved
from tests.reference import phase_coherent as reference
from undula.mixers.phase_coherent import PhaseCoherentAttention, PhaseCoherentState
from undula.ops import coherence


def attention(number=8, heads=4, shared=2, **options):
    made = PhaseCoherentAttention(3 * number, number, heads, shared, **options)
    return moved(made).double().eval()


def waves(rows=2, steps=9, harmonics=8):
    return torch.randn(rows, steps, 3 * harmonics, dtype=torch.float64)


def numbers(mixer):
    return {name: p.detach().numpy() for name, p in (*mixer.named_parameters(), *mixer.named_buffers())}


def test_documented_defaults_run_and_are_monitored():
    mixer = PhaseCoherentAttention(d_model=24, num_harmonics=8, n_heads_q=4, n_heads_kv=2)
    assert mixer(torch.randn(2, 5, 24)).shape == (2, 5, 24)
    assert (mixer.alpha.item(), mixer.beta.item()) == (1.0, 0.5)
    assert {"alpha", "beta"} <= dict(mixer.named_parameters()).keys()
    fixed = PhaseCoherentAttention(24, 8, 4, 2, learnable_blend=False)
    assert {"alpha", "beta"} <= dict(fixed.named_buffers()).keys()
    assert {"alpha", "beta"}.isdisjoint(dict(fixed.named_parameters()))


def test_a_blend_for_each_head():
    mixer = attention(blend_per_head=True)
    assert mixer.alpha.shape == mixer.beta.shape == (4,)
    built = PhaseCoherentAttention.build(24, 4)
    assert built.beta.tolist() == [0.5] * 4
    x = waves()
    want = reference.mixer(x.numpy(), numbers(mixer), 4, 2)
    np.testing.assert_allclose(mixer(x).detach().numpy(), want, atol=1e-10)
    mixer(x).square().sum().backward()
    assert mixer.beta.grad.abs().min() > 0


def test_alpha_and_beta_weigh_the_two_scores():
    mixer, x = attention(use_yarn=False), waves()
    with torch.no_grad():
        mixer.alpha.zero_()
        mixer.beta.zero_()
    before = torch.arange(1.0, 10)[:, None]
    values = mixer.kv_proj(x)[..., 12:].reshape(2, 9, 2, 6).repeat_interleave(2, dim=2).flatten(2)
    torch.testing.assert_close(mixer(x), mixer.out_proj(values.cumsum(1) / before), atol=1e-12, rtol=0)


@pytest.mark.parametrize("mode", coherence.MODES)
@pytest.mark.parametrize(("harmonics", "heads"), [(8, 3), (10, 6), (5, 5)])
def test_groups_of_harmonics_need_not_be_equal(mode, harmonics, heads):
    mixer = attention(harmonics, heads, 1, phase_coherence_mode=mode, harmonics="grouped", use_yarn=False)
    x = waves(harmonics=harmonics)
    options = {"phase_coherence_mode": mode, "harmonics": "grouped", "use_yarn": False}
    want = reference.mixer(x.numpy(), numbers(mixer), heads, 1, **options)
    np.testing.assert_allclose(mixer(x).detach().numpy(), want, atol=1e-10)


@pytest.mark.parametrize("mode", coherence.MODES)
def test_true_phases_take_the_place_of_those_of_the_input(mode):
    """What a normalisation leaves in the last third are no phases: attention can be given the true ones."""
    mixer, x = attention(phase_coherence_mode=mode), waves()
    phases = 3 * torch.randn(2, 9, 8, dtype=torch.float64)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1, :3] = False
    options = {"phase_coherence_mode": mode, "phases": phases.numpy()}
    want = reference.mixer(x.numpy(), numbers(mixer), 4, 2, True, mask.numpy(), **options)
    got = mixer(x, True, mask, phases=phases.masked_fill(~mask[..., None], torch.nan))
    np.testing.assert_allclose(got.detach().numpy()[mask], want[mask], atol=1e-10)
    got[mask].sum().backward()
    assert all(p.grad.isfinite().all() for p in mixer.parameters())
    assert (got - mixer(x, True, mask)).abs().max() > 1e-3
    own = x.chunk(3, dim=-1)[2]
    torch.testing.assert_close(mixer(x, phases=own), mixer(x), atol=0, rtol=0)
    whole, turned = mixer(x, phases=phases), mixer(x, phases=phases + 2 * torch.pi)
    torch.testing.assert_close(turned, whole, atol=1e-10, rtol=0)


def test_amplitudes_weigh_the_complex_coherence_alone():
    x = waves()
    louder = x.clone()
    louder[..., 8:16] *= 3
    for mode, heard in (("cosine", False), ("complex", True)):
        mixer = attention(phase_coherence_mode=mode)
        with torch.no_grad():
            for projection in (mixer.q_proj, mixer.kv_proj):
                projection.weight[:, 8:16] = 0
        assert bool((mixer(louder) - mixer(x)).abs().max() > 1e-4) is heard


def test_order_is_heard_through_positions_and_heads_are_not_mixed_up():
    """Turning (positions x heads) as if it were one axis gives a head's channels another position's angle."""
    x = waves(1)
    shuffled = x[:, [3, 1, 0, 2, 7, 5, 4, 6, 8]]
    for yarn in (False, True):
        mixer = attention(use_yarn=yarn)
        change = (mixer(x) - mixer(shuffled))[:, -1].abs().max()
        assert bool(change > 1e-5) is yarn
    mixer = attention(yarn_scale=8.0, max_seq_len=6)
    want = reference.mixer(x.numpy(), numbers(mixer), 4, 2, yarn_scale=8.0, max_seq_len=6)
    np.testing.assert_allclose(mixer(x).detach().numpy(), want, atol=1e-10)


def test_sequences_may_be_longer_than_max_seq_len():
    mixer = PhaseCoherentAttention(24, 8, 4, 4, max_seq_len=16)
    assert mixer(torch.randn(1, 50, 24)).isfinite().all()


@pytest.mark.parametrize("mode", coherence.MODES)
def test_padding_on_the_left_gives_no_nan(mode):
    """A row whose first keys are all hidden has nothing to see but itself."""
    mixer, x = attention(phase_coherence_mode=mode), waves()
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[0, :4] = 0
    mask[1] = 0
    x[0, :4] = torch.nan
    y = mixer(x, True, mask)
    assert y.isfinite().all()
    torch.testing.assert_close(y[1], mixer.out_proj.bias.expand(9, -1))
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in mixer.parameters())


@pytest.mark.parametrize("options", [{}, {"harmonics": "grouped"}, {"phase_coherence_mode": "complex"}], ids=str)
def test_dropout_is_on_weights_in_training_alone(options):
    mixer = attention(dropout_p=0.5, **options)
    x = waves()
    assert torch.equal(mixer(x), mixer(x))
    mixer.train()
    assert (mixer(x) - mixer(x)).abs().max() > 1e-3
    # The first position has itself alone, in each of 4 heads: there or not.
    first = torch.cat([mixer(x)[:1, 0] for _ in range(60)])
    assert 4 < len(first.unique(dim=0)) <= 16


def test_tensors_of_every_pair_and_harmonic_are_never_made():
    """The largest tensor of a pass is one tile of scores: all pairs x harmonics would be 75 times that."""
    sizes = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (result,) if isinstance(t, torch.Tensor))
            return result

    steps, harmonics = 600, 16
    for mode in coherence.MODES:
        mixer = PhaseCoherentAttention(48, harmonics, 4, 4, phase_coherence_mode=mode)
        x = torch.randn(1, steps, 48, requires_grad=True)
        with Watch():
            mixer(x)
        assert 0 < max(sizes) <= coherence.QUERIES * steps < steps * steps * harmonics / 30


def test_the_state_holds_keys_values_and_waves_once():
    mixer = attention()
    _, state = mixer(waves(3, 5), state=mixer.init_state(3))
    assert isinstance(state, PhaseCoherentState)
    assert state.keys.shape == state.values.shape == (3, 2, 5, 6)
    assert state.waves.shape == (3, 5, 16)
    assert state.real is None


def test_true_phases_stream():
    mixer, x = attention(), waves()
    phases = torch.randn(2, 9, 8, dtype=torch.float64)
    first, state = mixer(x[:, :4], state=mixer.init_state(2), phases=phases[:, :4])
    rest, _ = mixer(x[:, 4:], state=state, phases=phases[:, 4:])
    torch.testing.assert_close(torch.cat([first, rest], 1), mixer(x, phases=phases), atol=1e-10, rtol=0)


def test_use_flash_chooses_the_kernel_and_not_the_result():
    fused, plain = (attention(harmonics="grouped", use_flash=f) for f in (True, False))
    plain.load_state_dict(fused.state_dict())
    x = waves()
    torch.testing.assert_close(fused(x), plain(x), atol=1e-12, rtol=0)


def test_phases_learn():
    mixer = PhaseCoherentAttention(24, 8, 4, 4)
    phases = nn.Parameter(torch.randn(1, 9, 8))
    mixer(torch.randn(1, 9, 24), phases=phases).square().sum().backward()
    assert phases.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((30, 8, 4, 4), "d_model=30 is not 3 x num_harmonics=24"),
        ((24, 8, 5, 5), "d_model=24 is not a multiple of n_heads_q=5; change one of them"),
        ((24, 8, 4, 3), "n_heads_q=4 is not a multiple of n_heads_kv=3; change one of them"),
        ((24, 8, 8, 8), "head width 3 is odd; change n_heads_q"),
        ((0, 0, 1, 1, 0.0, False), "num_harmonics=0 is not positive"),
        ((24, 8, 4, 4, 0.0, True, 512, True, "complx"), "did you mean 'complex'?"),
        ((24, 8, 4, 4, 0.0, True, 512, True, "cosine", 0.0), "temperature=0.0 is not positive"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PhaseCoherentAttention(*arguments)


def test_waves_of_another_size_are_refused():
    with pytest.raises(ValueError, match="30 wide, wanted 3 x num_harmonics=24"):
        attention()(waves(harmonics=10))
    with pytest.raises(ValueError, match="got 7 phases, wanted num_harmonics=8 of them"):
        attention()(waves(), phases=torch.zeros(2, 9, 7, dtype=torch.float64))


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="unknown harmonics 'share'; did you mean 'shared'?"):
        PhaseCoherentAttention(24, 8, 4, 4, harmonics="share")
    with pytest.raises(ValueError, match="num_harmonics=4 cannot be shared out to n_heads_q=6; use shared"):
        PhaseCoherentAttention(12, 4, 6, 6, harmonics="grouped")
    with pytest.raises(ValueError, match="d_model=16 is not a multiple of 3"):
        PhaseCoherentAttention.build(16, 4)
    with pytest.raises(ValueError, match=r"got yarn_scale=0\.5 and max_seq_len=512; wanted at least 1 each"):
        attention(yarn_scale=0.5)
