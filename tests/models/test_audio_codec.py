import math

import numpy as np
import pytest
import torch

from undula.models.audio_decoder import AudioWaveDecoder
from undula.models.audio_encoder import AudioWaveEncoder

SMALL = {
    "num_harmonics": 8,
    "sample_rate": 1000,
    "n_fft": 32,
    "hop_length": 8,
    "d_model": 16,
    "num_heads": 2,
    "num_layers": 2,
}
SMALL |= {"dropout": 0.0, "freq_range": (10.0, 500.0)}


def codec(**changes):
    torch.manual_seed(0)
    ends = (AudioWaveEncoder(**SMALL | changes).double(), AudioWaveDecoder(**SMALL | changes).double())
    for part in ends:
        for p in part.parameters():
            p.data.add_(0.2 * torch.randn_like(p))
    return ends


def sound(*shape):
    return torch.randn(*shape, dtype=torch.float64) * 0.3


@pytest.mark.parametrize("length", [0, 1, 7, 37, 64])
@pytest.mark.parametrize("causal", [False, True])
def test_frames_and_samples_are_as_many_as_promised(length, causal):
    encoder, decoder = codec()
    wave = encoder(sound(2, length), causal=causal)
    assert wave.shape == (2, 1 + length // 8, 8)
    out = decoder(wave.to_representation(), causal=causal)
    assert out.shape == (2, 8 * (length // 8))
    exact = decoder(wave.to_representation(), causal=causal, target_length=length)
    assert exact.shape == (2, length)
    torch.testing.assert_close(exact[:, : out.shape[1]], out)


def test_a_fresh_encoder_says_where_a_tone_lies_how_loud_it_is_and_its_phase():
    encoder = AudioWaveEncoder(num_harmonics=10, sample_rate=8000, n_fft=512, hop_length=128, freq_range=(20, 4000))
    torch.nn.init.zeros_(encoder.to_components.weight)
    torch.nn.init.zeros_(encoder.to_components.bias)
    centre = encoder.filterbank.centres()[6].item()
    t = torch.arange(4000) / 8000
    wave = encoder(0.25 * torch.sin(2 * math.pi * centre * t + 0.4)[None])[0, 5:-5]
    assert (wave.amplitudes.argmax(-1) == 6).all()
    np.testing.assert_allclose(wave.frequencies[:, 6].detach(), centre, rtol=1e-4)
    # The triangle is rounded by the window's main lobe, so a little of the tone is missing.
    np.testing.assert_allclose(wave.amplitudes[:, 6].detach(), 0.25, rtol=0.1)
    middles = torch.arange(5, 5 + len(wave.phases)) * 128 / 8000
    error = wave.phases[:, 6].detach() - (2 * math.pi * centre * middles + 0.4)
    np.testing.assert_allclose(torch.cos(error), 1, atol=1e-3)


def test_waves_are_in_hertz_positive_amplitudes_and_radians():
    encoder, _ = codec()
    wave = encoder(100 * sound(2, 400))
    assert wave.frequencies.min() >= 10
    assert wave.frequencies.max() <= 500
    assert wave.amplitudes.min() > 0
    assert wave.phases.abs().max() <= math.pi


def test_phases_turn_past_pi_without_a_seam():
    encoder, _ = codec(num_layers=0)
    torch.nn.init.zeros_(encoder.to_components.weight)
    torch.nn.init.zeros_(encoder.to_components.bias)
    t = torch.arange(2000, dtype=torch.float64) / 1000
    centre = encoder.filterbank.centres()[4].item()
    shifts = torch.linspace(0, 2 * math.pi, 9, dtype=torch.float64)
    tones = torch.sin(2 * math.pi * centre * t + shifts[:, None])
    phases = encoder(tones).phases[:, 100, 4]
    turned = torch.remainder(phases - phases[0] + 1e-3, 2 * math.pi)
    np.testing.assert_allclose(turned[:8].detach(), (shifts[:8] + 1e-3), atol=2e-3)
    np.testing.assert_allclose(phases[8].detach(), phases[0].detach(), atol=1e-9)


@pytest.mark.parametrize("causal", [False, True])
def test_a_sample_never_changes_another(causal):
    encoder, decoder = codec()
    x = sound(2, 64)
    y = x.clone()
    y[1] = sound(64)
    a, b = (encoder(v, causal=causal).to_representation() for v in (x, y))
    assert torch.equal(a[0], b[0])
    assert (a[1] - b[1]).abs().max() > 1e-3
    out_a, out_b = (decoder(v, causal=causal) for v in (a, b))
    assert torch.equal(out_a[0], out_b[0])


def test_causal_waves_are_functions_of_earlier_samples_and_others_are_not():
    encoder, _ = codec()
    x = sound(1, 64)
    y = x.clone()
    y[:, 40:] = sound(1, 24)
    for causal in (True, False):
        difference = (
            encoder(x, causal=causal).to_representation() - encoder(y, causal=causal).to_representation()
        ).abs()
        assert bool(difference[:, :6].max() < 1e-10) is causal
        assert difference[:, 6:].amax((0, 2)).min() > 1e-6
    short = encoder(x[:, :40], causal=True).to_representation()
    torch.testing.assert_close(encoder(x, causal=True).to_representation()[:, :6], short, rtol=0, atol=1e-9)


def test_causal_sound_is_delayed_by_one_frame_and_no_more():
    _, decoder = codec()
    x = sound(1, 12, 24)
    y = x.clone()
    y[:, 8:] += 1
    a, b = (decoder(v, causal=True) for v in (x, y))
    # Frame 8 writes from sample 8 * 8 - 32 on.
    assert (a - b)[:, :32].abs().max() < 1e-12
    assert (a - b)[:, 33].abs().max() > 1e-8
    later, earlier = (decoder(v, causal=False) for v in (x, y))
    assert (later - earlier)[:, :32].abs().max() > 1e-9


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_at_real_frames(side, causal):
    encoder, decoder = codec()
    x, noise = sound(2, 64), sound(2, 40)
    left = side == "left"
    padded = torch.cat([noise, x] if left else [x, noise], 1)
    mask = torch.zeros(2, 14, dtype=torch.long)
    real = slice(5, 14) if left else slice(0, 9)
    mask[:, real] = 1
    got = encoder(padded, mask, causal=causal).to_representation()
    want = encoder(x, causal=causal).to_representation()
    torch.testing.assert_close(got[:, real], want, rtol=0, atol=1e-8)
    out = decoder(got, mask, causal=causal)
    assert torch.isfinite(out).all()
    noisy = torch.where(mask.bool()[..., None], got, 1e3)
    torch.testing.assert_close(decoder(noisy, mask, causal=causal), out, rtol=0, atol=1e-12)


def test_a_row_of_padding_alone_is_silent():
    encoder, decoder = codec()
    mask = torch.tensor([[1] * 9, [0] * 9])
    wave = encoder(sound(2, 64), mask)
    out = decoder(wave.to_representation(), mask)
    assert torch.isfinite(wave.to_representation()).all()
    assert torch.equal(out[1], torch.zeros(64, dtype=torch.float64))
    assert out[0].abs().max() > 1e-4


def test_every_parameter_learns():
    encoder, decoder = codec()
    out = decoder(encoder(sound(2, 64)).to_representation() / 100)
    (out - sound(2, 64)).square().sum().backward()
    for part in (encoder, decoder):
        assert [name for name, p in part.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_silence_has_finite_values_and_gradients():
    encoder, decoder = codec()
    x = torch.zeros(2, 64, dtype=torch.float64, requires_grad=True)
    wave = encoder(x)
    out = decoder(wave.to_representation() / 100)
    (out.square().sum() + wave.to_representation().square().sum()).backward()
    for value in (out, x.grad, *(p.grad for part in (encoder, decoder) for p in part.parameters())):
        assert torch.isfinite(value).all()


def test_gradients_of_the_encoder():
    encoder, _ = codec(num_layers=1, num_harmonics=3)
    x = sound(1, 24).requires_grad_()
    assert torch.autograd.gradcheck(lambda audio: encoder(audio).to_representation(), (x,), atol=1e-4)


def test_train_mode_without_dropout_is_eval_mode_and_dropout_is_read():
    encoder, decoder = codec()
    x = sound(1, 64)
    still = decoder(encoder(x).to_representation())
    torch.testing.assert_close(decoder.eval()(encoder.eval()(x).to_representation()), still, rtol=0, atol=0)
    encoder, decoder = codec(dropout=0.5)
    assert not torch.equal(encoder(x).phases, encoder(x).phases)
    assert not torch.equal(decoder(sound(1, 3, 24)), decoder(sound(1, 3, 24)))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("n_fft", 64),
        ("hop_length", 16),
        ("d_model", 32),
        ("num_heads", 4),
        ("num_layers", 1),
        ("freq_range", (50.0, 400.0)),
    ],
)
def test_every_option_changes_the_result(option, value):
    x, wave = sound(1, 64), sound(1, 9, 24)
    for part, given in ((0, x), (1, wave)):
        outs = []
        for changes in ({}, {option: value}):
            out = codec(**changes)[part].eval()(given)
            outs.append(out.to_representation() if part == 0 else out)
        assert outs[0].shape != outs[1].shape or (outs[0] - outs[1]).abs().max() > 1e-6


def test_a_fixed_filter_bank_has_fewer_parameters():
    learned, fixed = (AudioWaveEncoder(**SMALL, learnable_filterbank=choice) for choice in (True, False))
    names = {n for n, _ in learned.named_parameters()} - {n for n, _ in fixed.named_parameters()}
    assert names == {"filterbank.centre", "filterbank.left", "filterbank.right"}


def test_wrong_input_is_answered():
    encoder, decoder = codec()
    with pytest.raises(ValueError, match=r"audio has shape \(64,\), wanted \(batch, samples\)"):
        encoder(sound(64))
    with pytest.raises(ValueError, match="attention_mask has 64 entries a row, wanted one for each of 9 frames"):
        encoder(sound(1, 64), torch.ones(1, 64))
    with pytest.raises(ValueError, match="d_model=16 is not a multiple of n_heads=3"):
        AudioWaveEncoder(**SMALL | {"num_heads": 3})
    with pytest.raises(ValueError, match="lower its end or raise the sample rate"):
        AudioWaveDecoder(**SMALL | {"freq_range": (20.0, 8000.0)})


def test_bf16_mixed_precision_stays_near_float32():
    encoder, decoder = (part.float().eval() for part in codec())
    x = sound(2, 256).float()
    want = encoder(x)
    with torch.autocast("cpu", torch.bfloat16):
        got = encoder(x)
        out = decoder(got.to_representation() / 100)
    assert (got.frequencies - want.frequencies).abs().max() < 10
    assert (got.amplitudes / want.amplitudes).log().abs().max() < 0.1
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()


@pytest.mark.slow
def test_learns_to_give_back_tones():
    torch.manual_seed(0)
    encoder, decoder = AudioWaveEncoder(**SMALL | {"d_model": 64}), AudioWaveDecoder(**SMALL | {"d_model": 64})
    optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    t = torch.arange(256) / 1000
    units = torch.tensor([1 / 500, 1.0, 1.0]).repeat_interleave(8)

    def batch(seed):
        g = torch.Generator().manual_seed(seed)
        pitch, phase = 40 + 200 * torch.rand(16, 1, generator=g), 6.28 * torch.rand(16, 1, generator=g)
        return 0.5 * torch.sin(2 * math.pi * pitch * t + phase)

    def error(x):
        return (decoder(encoder(x).to_representation() * units) - x).square().mean() / x.square().mean()

    for step in range(100):
        loss = error(batch(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert error(batch(10_000)) < 0.1
