"""Reading a source: by definition, without a trace of padding, at a cost that is linear with landmarks."""

import numpy as np
import pytest
import torch

from tests.reference import landmarks as reference
from undula.mixers.base import map_state, state_bytes
from undula.mixers.cross import CROSS_MIXERS, Memory
from undula.mixers.cross_attention import CrossAttention
from undula.mixers.cross_landmarks import CrossLandmarks

REAL = torch.tensor([[1] * 11, [1] * 6 + [0] * 5, [0] * 4 + [1] * 7], dtype=torch.bool)


def made(kind, **options):
    mixer = CROSS_MIXERS[kind](8, 2, **options).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return mixer


CASES = [("attention", {}), ("landmarks", {"num_landmarks": 4}), ("landmarks", {"num_landmarks": 64})]
cases = pytest.mark.parametrize(("kind", "options"), CASES)


@cases
def test_by_definition(kind, options):
    mixer = made(kind, **options)
    x, hidden = torch.randn(3, 5, 8, dtype=torch.float64), torch.randn(3, 11, 8, dtype=torch.float64)
    numbers = {name: p.detach().numpy() for name, p in mixer.named_parameters()}
    source = mixer.absorb(Memory(hidden, REAL))
    got, weights = mixer(x, source), mixer.alignment(x, source)
    for b in range(3):
        row = (x[b].numpy(), hidden[b].numpy(), REAL[b].numpy(), numbers, 2)
        want, shares = getattr(reference, f"cross_{kind}")(*row, *options.values())
        np.testing.assert_allclose(got[b].detach().numpy(), want, atol=1e-12)
        np.testing.assert_allclose(weights[b][:, :, REAL[b]].detach().numpy(), shares, atol=1e-12)
    assert weights.masked_select(~REAL[:, None, None]).abs().max() == 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 5, dtype=torch.float64))


@cases
def test_padding_of_any_length_and_content_changes_nothing(kind, options):
    mixer = made(kind, **options)
    x, hidden = torch.randn(1, 5, 8, dtype=torch.float64), torch.randn(1, 9, 8, dtype=torch.float64)
    alone = mixer(x, mixer.absorb(Memory(hidden, None)))
    for left, right in ((0, 3), (70, 0), (2, 80)):
        noise = [torch.randn(1, n, 8, dtype=torch.float64) for n in (left, right)]
        padded = torch.cat([noise[0], hidden, noise[1]], dim=1)
        real = torch.tensor([[0] * left + [1] * 9 + [0] * right], dtype=torch.bool)
        assert (mixer(x, mixer.absorb(Memory(padded, real))) - alone).abs().max() < 1e-12


@cases
def test_every_position_is_read_and_every_parameter_learns(kind, options):
    mixer = made(kind, **options)
    hidden = torch.randn(1, 40, 8, dtype=torch.float64, requires_grad=True)
    out = mixer(torch.randn(1, 3, 8, dtype=torch.float64), mixer.absorb(Memory(hidden, None)))
    (out * torch.randn_like(out)).sum().backward()
    assert hidden.grad.abs().amax(-1).min() > 1e-9
    assert [n for n, p in mixer.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9] == []


@cases
def test_positions_do_not_see_each_other(kind, options):
    mixer = made(kind, **options)
    x, hidden = torch.randn(1, 4, 8, dtype=torch.float64), torch.randn(1, 9, 8, dtype=torch.float64)
    source = mixer.absorb(Memory(hidden, None))
    one_by_one = torch.cat([mixer(x[:, t : t + 1], source) for t in range(4)], dim=1)
    assert (one_by_one - mixer(x, source)).abs().max() < 1e-12


def test_sharp_landmarks_of_a_short_source_are_attention():
    landmarks, attention = made("landmarks", num_landmarks=16), made("attention")
    attention.load_state_dict({k: v for k, v in landmarks.state_dict().items() if k != "log_sharpness"})
    torch.nn.init.constant_(landmarks.log_sharpness, 5.0)
    x, memory = torch.randn(2, 5, 8).double(), Memory(torch.randn(2, 16, 8).double(), None)
    assert (landmarks(x, landmarks.absorb(memory)) - attention(x, attention.absorb(memory))).abs().max() < 1e-12


def test_what_a_step_reads_does_not_grow_with_the_source():
    mixer = made("landmarks", num_landmarks=4)
    sizes = []
    for length in (50, 500):
        source = mixer.absorb(Memory(torch.randn(1, length, 8).double(), None))
        read = map_state(source, lambda t: t)
        read.weights = read.weights[..., :0]
        sizes.append(state_bytes(read))
    assert sizes[0] == sizes[1]


def test_a_source_of_silence_is_finite():
    for kind, options in CASES:
        mixer = made(kind, **options)
        hidden = torch.zeros(1, 9, 8, dtype=torch.float64, requires_grad=True)
        mixer(torch.zeros(1, 2, 8).double(), mixer.absorb(Memory(hidden, None))).sum().backward()
        assert torch.isfinite(hidden.grad).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossAttention(10, 4), r"d_model=10 is not a multiple of num_heads=4; change one of them"),
        (lambda: CrossLandmarks(10, 4), r"d_model=10 is not a multiple of num_heads=4; change one of them"),
        (lambda: CrossLandmarks(8, 2, num_landmarks=0), "num_landmarks=0; wanted at least 1"),
        (lambda: CROSS_MIXERS["landmark"], "unknown cross mixer 'landmark'; did you mean 'landmarks'"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
