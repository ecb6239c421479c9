"""Mel spectrograms: against their definition, without future, at a level that padding does not change."""

import math

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank

from tests.reference import mel as reference
from undula.ops import mel as ops

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("rate", "frame", "hop"), [(16000, 400, 160), (8000, 200, 80), (44100, 1102, 441), (100, 2, 1)]
)
def test_frames_last_as_long_at_every_rate(rate, frame, hop):
    assert ops.frame_sizes(rate) == (frame, hop)
    with pytest.raises(ValueError, match="sample_rate=99; wanted samples per second, 100 or more"):
        ops.frame_sizes(99)


@pytest.mark.parametrize(("rate", "mels"), [(16000, 80), (8000, 80), (8000, 40), (22050, 64)])
def test_filters_by_definition_and_none_is_empty(rate, mels):
    got = ops.mel_filters(mels, rate, device=CPU, dtype=torch.float64).numpy()
    np.testing.assert_allclose(got, reference.filters(mels, rate), atol=1e-12)
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-12)
    assert (got.max(1) > 0).all()


def test_filters_are_those_of_transformers_where_they_are_wider_than_a_bin():
    """In Hz: the same corners and flanks, up to the scale of each."""
    got = ops.mel_filters(20, 16000, device=CPU, dtype=torch.float64).numpy()
    want = mel_filter_bank(201, 20, 0.0, 8000.0, 16000, norm=None, mel_scale="htk").T
    np.testing.assert_allclose(got, want / want.sum(1, keepdims=True), atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 2, 20, 21, 63])
def test_spectrograms_by_definition(length, causal):
    x = torch.randn(2, length, dtype=torch.float64)
    got = ops.log_mel(x, 2000, 7, causal)
    assert got.shape == (2, 7, math.ceil(length / 20))
    for row, samples in zip(got, x, strict=True):
        np.testing.assert_allclose(row.numpy(), reference.log_mel(samples.numpy(), 2000, 7, causal), atol=1e-9)


def test_white_noise_has_its_variance_in_every_band_at_every_rate():
    for rate in (8000, 16000):
        x = 0.1 * torch.randn(1, 10 * rate, dtype=torch.float64)
        power = ops.log_mel(x, rate, 40)[0, :, 3:-3].exp().mean(1)
        np.testing.assert_allclose(power.numpy(), 0.01, rtol=0.15)


@pytest.mark.parametrize("causal", [False, True])
def test_causal_frames_know_the_sound_so_far_alone(causal):
    x = torch.randn(1, 400, dtype=torch.float64)
    whole = ops.log_mel(x, 2000, 7, causal)
    worst = 0.0
    for n in (1, 20, 21, 150):
        part = ops.log_mel(x[:, :n], 2000, 7, causal)
        worst = max(worst, float((part - whole[..., : part.shape[2]]).abs().max()))
    assert (worst < 1e-12) == causal


@pytest.mark.parametrize("causal", [False, True])
def test_levels_by_definition_whatever_stands_at_padding(causal):
    x = 3 * torch.randn(3, 5, 8, dtype=torch.float64) - 9
    real = torch.arange(8) < torch.tensor([[8], [5], [0]])
    got = ops.levelled(torch.where(real[:, None], x, torch.nan), real, causal)
    for row, n in enumerate((8, 5)):
        np.testing.assert_allclose(
            got[row, :, :n].numpy(), reference.levelled(x[row, :, :n].numpy(), causal), atol=1e-12
        )
    assert got.masked_select(~real[:, None]).abs().max() == 0
    torch.testing.assert_close(ops.levelled(x[:1], None, causal), got[:1])


@pytest.mark.parametrize("causal", [False, True])
def test_silence_is_zero_with_finite_gradients(causal):
    x = torch.zeros(1, 500, requires_grad=True)
    y = ops.levelled(ops.log_mel(x, 2000, 7, causal), None, causal)
    y.square().sum().backward()
    assert y.abs().max() < 1e-5
    assert x.grad.isfinite().all()
