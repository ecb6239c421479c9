"""Both forms of pure wave attention: two functions of one set of parameters, scales that do not drift, large scores."""

import itertools

import numpy as np
import pytest
import torch

from tests.reference import pure_wave as reference
from undula.mixers.pure_wave import PureWaveAttention, PureWaveState
from undula.mixers.pure_wave_linear import PureWaveLinearAttention, PureWaveLinearState
from undula.ops.kernel_attention import KERNELS

FORMS = [PureWaveAttention, PureWaveLinearAttention]
VARIANTS = list(itertools.product(FORMS, KERNELS))


@pytest.fixture
def x():
    return torch.randn(2, 12, 16, dtype=torch.float64)


def through(mixer):
    """Let values pass as they are: the output is the mean of inputs that the weights make."""
    with torch.no_grad():
        mixer.heads.value.weight.copy_(torch.eye(mixer.d_model))
        mixer.out_proj.weight.copy_(torch.eye(mixer.d_model))
    return mixer


def test_two_forms_and_three_kernels_are_six_functions(x):
    """phi(q) . phi(k) is not kernel(q . k): an earlier model ran the second where the first was asked for."""
    torch.manual_seed(0)
    parameters = PureWaveAttention(16, 4).double().state_dict()
    outputs = []
    for form, kernel in VARIANTS:
        mixer = form(16, 4, kernel=kernel).double()
        mixer.load_state_dict(parameters)
        outputs.append(mixer(x))
    for one, other in itertools.combinations(outputs, 2):
        assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize(("form", "kernel"), VARIANTS)
def test_a_constant_comes_out_constant(form, kernel):
    """Divided by sqrt(t + 1) it would grow like sqrt(t), and long sequences would leave the range of short ones."""
    mixer = form(16, 4, kernel=kernel).double()
    ones = torch.ones(2, 300, 4, 4, dtype=torch.float64).flatten(2)
    mixer.heads.value.register_forward_hook(lambda *_: ones)
    torch.nn.init.eye_(mixer.out_proj.weight)
    torch.testing.assert_close(mixer(torch.randn(2, 300, 16, dtype=torch.float64)), ones, atol=1e-12, rtol=0)


def test_divided_by_the_root_of_the_count_it_would_grow():
    p = {key: value.numpy() for key, value in PureWaveAttention(16, 4).double().state_dict().items()}
    w = reference.weights(torch.randn(1, 200, 16, dtype=torch.float64).numpy(), p, "elu_plus_one")
    earlier = np.tril(w).sum(-1) / np.sqrt(np.arange(1, 201))
    assert earlier[:, :, -1].mean() > 3 * earlier[:, :, 0].mean()


@pytest.mark.parametrize(("form", "kernel"), VARIANTS)
def test_weights_are_positive_so_that_outputs_lie_between_values(form, kernel, x):
    mixer = through(form(16, 4, kernel=kernel)).double()
    y = mixer(x)
    assert (y <= x.cummax(1).values + 1e-12).all()
    assert (y >= x.cummin(1).values - 1e-12).all()
    torch.testing.assert_close(y[:, 0], x[:, 0], atol=1e-12, rtol=0)


@pytest.mark.parametrize(("form", "kernel"), VARIANTS)
def test_large_scales_stay_finite(form, kernel):
    """exp of a score of 4 x 60 overflows in single precision; a largest score or value is known beforehand."""
    mixer = through(form(16, 4, kernel=kernel))
    torch.nn.init.constant_(mixer.heads.log_scale, float(np.log(60)))
    x = torch.randn(1, 40, 16, requires_grad=True)
    y = mixer(x)
    assert y.isfinite().all()
    y.square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in mixer.parameters())


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_scale_of_linear_features_makes_weights_less_even(kernel, x):
    """Without it features of waves no longer than W^(1/4) are nearly constant, and outputs a running mean."""
    mixer = PureWaveLinearAttention(16, 4, kernel=kernel).double()

    def spread():
        p = {key: value.detach().numpy() for key, value in mixer.named_parameters()}
        w = reference.weights(x.numpy(), p, kernel, linear=True)
        return (w.std(-1) / w.mean(-1)).mean()

    started = spread()
    torch.nn.init.zeros_(mixer.heads.log_scale)
    assert started > 1.5 * spread()


@pytest.mark.parametrize("form", FORMS)
def test_left_padding_does_not_move_positions(form, x):
    mixer = form(16, 4).double()
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, :5] = False
    y = mixer(x, attention_mask=mask)
    torch.testing.assert_close(y[1:, 5:], mixer(x[1:, 5:]), atol=1e-12, rtol=0)
    torch.testing.assert_close(y[:1], mixer(x[:1]), atol=1e-12, rtol=0)
    first, state = mixer(x[:, :7], attention_mask=mask[:, :7], state=mixer.init_state(2))
    assert state.seen.tolist() == [7, 2]
    second, state = mixer(x[:, 7:11], state=state)
    third, state = mixer(x[:, 11:], attention_mask=mask[:, 11:], state=state)
    assert state.seen.tolist() == [12, 7]
    whole = torch.cat([first, second, third], dim=1)
    torch.testing.assert_close(whole[1, 5:], y[1, 5:], atol=1e-12, rtol=0)
    torch.testing.assert_close(whole[0], y[0], atol=1e-12, rtol=0)


def test_states_hold_what_they_say():
    quadratic, linear = PureWaveAttention(16, 4, 6).bfloat16(), PureWaveLinearAttention(16, 4, 6).bfloat16()
    state, sums = quadratic.init_state(2), linear.init_state(2)
    for steps in (1, 30, 1):
        x = torch.randn(2, steps, 16).bfloat16()
        _, state = quadratic(x, state=state)
        _, sums = linear(x, state=sums)
        assert isinstance(sums, PureWaveLinearState)
        assert sums.sums.shape == (2, 4, 6, 5)
        assert sums.sums.dtype is torch.float32
    assert isinstance(state, PureWaveState)
    assert state.keys.shape == (2, 4, 32, 6)
    assert state.values.shape == (2, 4, 32, 4)
    assert state.keys.dtype is state.values.dtype is torch.bfloat16
    assert state.real is None


def test_both_directions_of_the_linear_form_are_its_own_definition(x):
    mixer = PureWaveLinearAttention(16, 4).double()
    y, state = mixer(x, False, state=mixer.init_state(2))
    torch.testing.assert_close(y, mixer(x, False))
    _, causal = mixer(x, True, state=mixer.init_state(2))
    torch.testing.assert_close(state.sums, causal.sums)


@pytest.mark.parametrize("kernel", KERNELS)
def test_dropout_drops_weights_in_training_alone(kernel, x):
    mixer = PureWaveAttention(16, 4, dropout=0.5, kernel=kernel).double()
    assert (mixer(x) - mixer(x)).abs().max() > 1e-3
    mixer.eval()
    assert torch.equal(mixer(x), mixer(x))


def test_waves_are_never_multiplied_out():
    """T x W x D numbers at 1024 steps, 32 waves and a width of 64 are 8 MB for each copy; none is made."""
    mixer = PureWaveLinearAttention(64, 2, 32)
    x = torch.randn(1, 1024, 64)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, torch.Tensor))
            return out

    with Watch():
        mixer(x).sum().backward()
    assert len(sizes) > 50
    assert max(sizes) <= 1024 * 2 * 64


@pytest.mark.parametrize("form", FORMS)
def test_an_unknown_kernel_is_answered_with_the_nearest(form):
    with pytest.raises(ValueError, match="unknown kernel 'elu'; did you mean|unknown kernel 'elu'; known"):
        form(16, 4, kernel="elu")
