"""Cosine attention: what its scale allows, silence, widths and positions."""

import math

import pytest
import torch

from undula.mixers.cosine import SCALE, CosineAttention, CosineState


def sharpest(scale, waves=48, steps=64):
    """Largest share that a head at this scale can give to one of `steps` keys, times their number."""
    mixer = CosineAttention(waves, 1, waves, rotary=False).double()
    with torch.no_grad():
        mixer.log_scale.fill_(math.log(scale))
        for linear in (mixer.query, mixer.key):
            linear.weight.copy_(torch.eye(waves))
            linear.bias.zero_()
        mixer.value.weight.copy_(torch.eye(waves))
        mixer.out_proj.weight.copy_(torch.eye(waves))
        # The last key is the query itself, all others are at right angles to it: its share is what passes through.
        x = torch.zeros(1, steps, waves, dtype=torch.float64)
        x[0, :-1, 1] = 1
        x[0, -1, 0] = 1
        return steps * mixer(x)[0, -1, 0].item()


def test_heads_start_able_to_select():
    """A temperature of sqrt(W) bounds the scores by 1 / sqrt(W): the sharpest head is nearly a mean of everything."""
    uniform = 64 * math.exp(48**-0.5) / (63 + math.exp(48**-0.5))
    assert sharpest(48**-0.5) == pytest.approx(uniform, rel=1e-4)
    assert uniform < 1.16
    assert sharpest(SCALE) == pytest.approx(64 * math.exp(10) / (63 + math.exp(10)), rel=1e-4)
    mixer = CosineAttention(32, 4)
    torch.testing.assert_close(mixer.log_scale.exp(), torch.full((4,), 10.0))


def test_only_the_angle_counts():
    mixer = CosineAttention(16, 4, rotary=False).double()
    with torch.no_grad():
        mixer.query.bias.zero_()
        mixer.value.weight.copy_(torch.eye(16))
    x = torch.randn(1, 7, 16, dtype=torch.float64)
    other = mixer.query.weight.clone()
    want = mixer(x)
    with torch.no_grad():
        mixer.query.weight.copy_(100 * other)
    torch.testing.assert_close(mixer(x), want, atol=1e-4, rtol=0)


def test_the_offset_of_queries_is_learned_and_heard():
    mixer = CosineAttention(16, 4).double()
    x = torch.randn(1, 7, 16, dtype=torch.float64)
    want = mixer(x)
    with torch.no_grad():
        mixer.query.bias.add_(0.5)
    assert (mixer(x) - want).abs().max() > 1e-3


def test_queries_of_length_zero_average_and_have_gradients():
    """Division by a length has no gradient at 0; a query of 0 has the cosine 0 with every key."""
    mixer = CosineAttention(16, 4, rotary=False).double()
    with torch.no_grad():
        for parameter in mixer.query.parameters():
            parameter.zero_()
    x = torch.randn(1, 7, 16, dtype=torch.float64)
    y = mixer(x)
    mean = mixer.value(x).cumsum(1) / torch.arange(1, 8)[:, None]
    torch.testing.assert_close(y, mixer.out_proj(mean), atol=1e-12, rtol=0)
    y.square().sum().backward()
    assert mixer.query.weight.grad.isfinite().all()
    assert mixer.query.weight.grad.abs().max() > 0


def test_positions_count_only_when_turned_by_them():
    x = torch.randn(1, 9, 16, dtype=torch.float64)
    order = torch.cat([torch.randperm(8), torch.tensor([8])])
    plain, turned = (CosineAttention(16, 4, rotary=rotary).double() for rotary in (False, True))
    torch.testing.assert_close(plain(x[:, order])[:, -1], plain(x)[:, -1], atol=1e-12, rtol=0)
    assert (turned(x[:, order])[:, -1] - turned(x)[:, -1]).abs().max() > 1e-4


def test_waves_need_not_be_as_wide_as_values():
    mixer = CosineAttention(24, 2, num_waves=6)
    assert mixer.query.weight.shape == mixer.key.weight.shape == (12, 24)
    _, state = mixer(torch.randn(3, 5, 24), state=mixer.init_state(3))
    assert isinstance(state, CosineState)
    assert state.keys.shape == (3, 2, 5, 6)
    assert state.values.shape == (3, 2, 5, 12)
    assert state.real is None


def test_dropout_drops_weights_in_training_alone():
    mixer = CosineAttention(16, 4, dropout=0.5)
    x = torch.randn(2, 9, 16)
    assert (mixer(x) - mixer(x)).abs().max() > 1e-3
    mixer.eval()
    assert torch.equal(mixer(x), mixer(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_model": 30, "num_heads": 4}, "d_model=30 is not a multiple of num_heads=4; change one of them"),
        ({"d_model": 32, "num_heads": 0}, "d_model=32 is not a multiple of num_heads=0"),
        ({"d_model": 32, "num_heads": 4, "num_waves": 0, "rotary": False}, "num_waves=0 is not positive"),
        ({"d_model": 32, "num_heads": 4, "num_waves": 5}, "num_waves=5 is odd; add one or set rotary=False"),
    ],
)
def test_widths_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CosineAttention(**arguments)
