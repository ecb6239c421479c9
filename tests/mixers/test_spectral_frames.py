"""The encoder's mixer of spectral frames: against its definition, deaf to padding, cheaper where it keeps less."""

import numpy as np
import pytest
import torch

from tests.contract.cases import moved
from tests.reference import spectral_frames as reference
from undula.mixers.spectral_frames import SpectralFrames

SIZE = {"chunk_size": 16}


def mixer(**options):
    torch.manual_seed(0)
    return moved(SpectralFrames(8, 2, **{**SIZE, **options})).double().eval()


def signal(steps, rows=2, seed=1):
    return torch.randn(rows, steps, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mask_of(steps, *spans):
    mask = torch.zeros(len(spans), steps, dtype=torch.bool)
    for row, (first, end) in enumerate(spans):
        mask[row, first:end] = True
    return mask


@pytest.mark.parametrize(
    "options",
    [{}, {"sparsity": 0.3, "adaptive": False}, {"overlap_ratio": 0.3, "cross_frequency": False}, {"chunk_size": 64}],
)
@pytest.mark.parametrize("padded", [False, True])
def test_chosen_bins_are_filtered_as_defined(options, padded):
    built, x = mixer(**options), signal(41, rows=3)
    mask = mask_of(41, (0, 41), (7, 41), (2, 30)) if padded else None
    got = built(x, False, mask)
    values = {name: p.detach().numpy() for name, p in built.named_parameters()}
    real = np.ones((3, 41), dtype=bool) if mask is None else mask.numpy()
    want = reference.mixer(x.numpy(), values, 2, real if padded else None, **{**SIZE, **options})
    np.testing.assert_allclose(got.detach().numpy()[real], want[real], atol=1e-11)


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 9, 16, 17, 40])
@pytest.mark.parametrize("before", [0, 1, 5, 8, 21])
def test_neither_padding_nor_length_reaches_a_real_position(steps, before):
    built, x = mixer(), signal(steps)
    want = built(x, False)
    padded = torch.full((2, before + steps + 13, 8), torch.nan, dtype=x.dtype)
    padded[:, before : before + steps] = x
    mask = mask_of(padded.shape[1], *[(before, before + steps)] * 2)
    got = built(padded, False, mask)
    torch.testing.assert_close(got[:, before : before + steps], want, atol=1e-12, rtol=0)
    assert got.isfinite().all()


def test_padding_stays_out_of_what_frames_tell_each_other():
    """Frames of padding alone would change every gain."""
    built, x = mixer(), signal(40)
    seen = []
    fusion = built.frames.chunk_fusion
    fusion.register_forward_hook(lambda module, given, out: seen.append((given[1], out)))
    built(x, False)
    longer = torch.cat([x, torch.zeros_like(x)], dim=1)
    built(longer, False, mask_of(80, (0, 40), (0, 40)))
    (_, alone), (real, beside) = seen
    assert real.sum(1).tolist() == [alone.shape[1]] * 2
    torch.testing.assert_close(beside[:, : alone.shape[1]], alone, atol=1e-12, rtol=0)


def test_frames_far_apart_hear_of_each_other():
    built, x = mixer(), signal(200, rows=1)
    other = x.clone()
    other[:, 180:] = signal(20, rows=1, seed=5)
    assert (built(x, False) - built(other, False))[:, :20].abs().max() > 1e-5


def test_the_entropy_term_is_reached_through_the_mixer_and_knows_padding():
    built, x = mixer(sparsity=None), signal(40)
    built(x, False)
    alone = built.aux_loss()
    assert built.aux_loss() is None
    built(torch.cat([x, torch.zeros_like(x)], dim=1), False, mask_of(80, (0, 40), (0, 40)))
    torch.testing.assert_close(built.aux_loss(), alone)
    alone.backward()
    assert built.gating.gate.weight.grad.any()


@pytest.mark.parametrize("share", [0.15, 0.45])
def test_work_after_the_choice_is_on_what_is_kept(share):
    built = mixer(sparsity=share, adaptive=False, chunk_size=256)
    seen = []
    built.gating.register_forward_hook(lambda *_: seen.append("whole"))
    plain = built.gating._applied
    built.gating._applied = lambda x, *rest: seen.append(tuple(x.shape)) or plain(x, *rest)
    built(signal(600), False)
    assert seen == [(2, 6, 2, round(share * 129), 4)]


def test_sizes_and_calls_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="dim=8 is not a multiple of num_heads=3"):
        SpectralFrames(8, 3)
    with pytest.raises(ValueError, match="overlap_ratio=0.7; wanted above 0"):
        SpectralFrames(8, 2, overlap_ratio=0.7)
    with pytest.raises(ValueError, match="got a sequence of 0 steps; wanted at least 1"):
        mixer()(signal(0), False)
    with pytest.raises(ValueError, match="call it with causal=False and without a state"):
        mixer()(signal(3))
