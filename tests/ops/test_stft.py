import math

import numpy as np
import pytest
import torch
from scipy import signal

from tests.reference import stft as reference
from undula.ops import stft as ops

SIZES = [(16, 4), (16, 8), (16, 5), (15, 4), (16, 11)]


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
def test_window_is_hann_scaled_to_unit_power(n_fft, hop):
    got = ops.tight_hann(n_fft, hop, dtype=torch.float64)
    np.testing.assert_allclose(got.numpy(), reference.tight_hann(n_fft, hop), atol=1e-14)
    total = torch.zeros(20 * hop + n_fft, dtype=torch.float64)
    for k in range(21):
        total[k * hop : k * hop + n_fft] += got**2
    np.testing.assert_allclose(total[n_fft:-n_fft].numpy(), 1, atol=1e-14)


def test_window_at_a_quarter_hop_is_hann_over_the_root_of_three_halves():
    want = signal.get_window("hann", 64, fftbins=True) / math.sqrt(1.5)
    np.testing.assert_allclose(ops.tight_hann(64, 16, dtype=torch.float64).numpy(), want, atol=1e-14)


@pytest.mark.parametrize("hop", [0, 16, 17])
def test_a_hop_that_leaves_gaps_is_refused(hop):
    with pytest.raises(ValueError, match=f"hop_length={hop} is not in"):
        ops.tight_hann(16, hop)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [0, 1, 7, 16, 37])
@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
def test_stft_by_definition(n_fft, hop, length, causal):
    x = torch.randn(2, length, dtype=torch.float64)
    got = ops.stft(x, n_fft, hop, causal)
    assert got.shape == (2, 1 + length // hop, n_fft // 2 + 1)
    for row, samples in zip(got, x, strict=True):
        np.testing.assert_allclose(row.numpy(), reference.stft(samples.numpy(), n_fft, hop, causal), atol=1e-12)


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
@pytest.mark.parametrize("length", [1, 3, 16, 37, 64])
def test_centred_inverse_gives_the_signal_back(n_fft, hop, length):
    x = torch.randn(3, length, dtype=torch.float64)
    # Past the middle of the last frame only half a frame is covered.
    covered = min(length, (length // hop) * hop + n_fft // 4)
    back = ops.istft(ops.stft(x, n_fft, hop), n_fft, hop, length=length)
    torch.testing.assert_close(back[:, :covered], x[:, :covered], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
def test_causal_inverse_gives_the_signal_back_after_its_delay(n_fft, hop):
    x = torch.randn(3, 61, dtype=torch.float64)
    ended = torch.nn.functional.pad(x, (0, n_fft + hop))
    back = ops.istft(ops.stft(ended, n_fft, hop, causal=True), n_fft, hop, causal=True, length=61)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-12)


def test_default_length_is_the_frames_hops_and_more_is_silence():
    spectrum = torch.randn(2, 5, 9, dtype=torch.complex128)
    assert ops.istft(spectrum, 16, 4).shape == (2, 16)
    longer = ops.istft(spectrum, 16, 4, causal=True, length=40)
    torch.testing.assert_close(longer[:, :16], ops.istft(spectrum, 16, 4, causal=True))
    assert torch.equal(longer[:, 16:], torch.zeros(2, 24, dtype=torch.float64))


def test_causal_frames_are_functions_of_the_samples_before_them_and_centred_ones_are_not():
    x = torch.randn(1, 64, dtype=torch.float64, requires_grad=True)
    for causal, last in ((True, 31), (False, 39)):
        frame = torch.view_as_real(ops.stft(x, 16, 4, causal)[0, 8]).sum()
        (grad,) = torch.autograd.grad(frame, x)
        seen = grad[0].nonzero()
        assert seen.max() == last
        assert seen.min() > last - 16


def test_causal_transform_and_inverse_do_not_depend_on_what_follows():
    x = torch.randn(64, dtype=torch.float64)
    whole, part = (ops.stft(s, 16, 4, causal=True) for s in (x, x[:40]))
    torch.testing.assert_close(whole[:11], part, rtol=0, atol=0)
    longer = ops.istft(whole, 16, 4, causal=True)
    # Sample n waits for frames up to (n + 16) // 4: with 11 frames, samples before 28 are final.
    torch.testing.assert_close(ops.istft(part, 16, 4, causal=True)[:28], longer[:28], rtol=0, atol=1e-14)
    # What is not final yet is the part that these frames give: silent frames after them add nothing.
    silent = torch.cat([part, torch.zeros_like(part)])
    got = ops.istft(silent, 16, 4, causal=True)[:40]
    torch.testing.assert_close(got, ops.istft(part, 16, 4, causal=True), rtol=0, atol=1e-14)


def test_neighbouring_bins_of_a_tone_have_one_phase():
    t = torch.arange(256, dtype=torch.float64)
    tone = torch.cos(2 * math.pi * 10.3 / 64 * t + 0.7)
    frame = ops.stft(tone, 64, 16)[8]
    angle_at_the_middle = 2 * math.pi * 10.3 / 64 * 128 + 0.7
    for b in (9, 10, 11, 12):
        turned = frame[b] * torch.exp(torch.tensor(-1j * angle_at_the_middle, dtype=torch.complex128))
        assert turned.real > 0.1
        assert turned.angle().abs() < 0.05


@pytest.mark.parametrize("causal", [False, True])
def test_gradients(causal):
    x = torch.randn(2, 21, dtype=torch.float64, requires_grad=True)

    def there_and_back(signal):
        return ops.istft(ops.stft(signal, 8, 3, causal), 8, 3, causal, length=21)

    assert torch.autograd.gradcheck(there_and_back, (x,))


def test_half_types_are_transformed_in_float32():
    x = torch.randn(40).to(torch.bfloat16)
    torch.testing.assert_close(ops.stft(x, 16, 4), ops.stft(x.float(), 16, 4), rtol=0, atol=0)


def test_log_spectrogram_of_a_tone_and_of_silence():
    t = torch.arange(512, dtype=torch.float64)
    tone = torch.sin(2 * math.pi * t * 8 / 64)
    got = ops.log_spectrogram(tone, 64, 16, range_db=60)
    assert got.shape == (29, 33)
    assert (got.argmax(-1) == 8).all()
    # The main lobe of the Hann window: half the size, -6.02 dB, one bin away, nothing two bins away.
    np.testing.assert_allclose(got[:, 9].numpy(), 20 * math.log10(0.5), atol=1e-6)
    assert (got[:, 11] == -60).all()
    assert torch.equal(ops.log_spectrogram(torch.zeros(128), 64, 16), torch.full((5, 33), -80.0))


def test_mel_frequencies_are_equally_far_apart_in_mel():
    got = ops.mel_frequencies(10, 20.0, 8000.0)
    mel = 2595 * torch.log10(1 + got / 700)
    torch.testing.assert_close(mel.diff(), (mel[-1] - mel[0]).expand(9) / 9, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(got[[0, -1]], torch.tensor([20.0, 8000.0], dtype=torch.float64), rtol=1e-6, atol=1e-5)


def test_triangle_filters_by_definition():
    centres, left, right = (torch.rand(7, dtype=torch.float64) for _ in range(3))
    centres, left, right = 20 * centres, 1 + 4 * left, 1 + 4 * right
    got = ops.triangle_filters(centres, left, right, 21)
    want = reference.triangle_filters(centres.numpy(), left.numpy(), right.numpy(), 21)
    np.testing.assert_allclose(got.numpy(), want, atol=1e-14)
