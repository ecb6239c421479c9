"""Chunks and back: nothing lost, nothing made louder, the same at every length, deaf to padding."""

import numpy as np
import pytest
import torch

from tests.reference import overlap as reference
from undula.nn.hierarchical_fft import LIMIT, HierarchicalFFT

MIXES = [(0.54, 0.46, 0.0), (20.0, 0.0, 0.0), (0.0, 20.0, 0.0), (0.0, 0.0, 20.0), (200.0, 0.0, 0.0), (-1.0, 3.0, 2.0)]
OVERLAPS = [0.125, 0.2, 0.25, 0.37, 0.5]
LENGTHS = [1, 2, 63, 64, 65, 200, 1001]


def made(moved=True, dtype=torch.float64, **options):
    torch.manual_seed(0)
    built = HierarchicalFFT(6, **{"chunk_size": 32, "overlap_ratio": 0.25, **options}).to(dtype)
    if moved:
        with torch.no_grad():
            for p in built.parameters():
                p.add_(0.3 * torch.randn_like(p))
    return built


def signal(length, rows=2, dtype=torch.float64, seed=1):
    return torch.randn(rows, length, 6, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("mix", [*MIXES, "fades"])
def test_reconstructs_with_unit_noise_gain_at_every_length(mix, overlap):
    fft = made(dtype=torch.float32, chunk_size=64, overlap_ratio=overlap, learned_fades=mix == "fades")
    if mix != "fades":
        with torch.no_grad():
            fft.window_logits.copy_(torch.tensor(mix))
    for length in LENGTHS:
        x = signal(length, dtype=torch.float32)
        spectrum = fft.analysis(x)
        assert (fft.synthesis(spectrum, length) - x).abs().max() <= 1e-6
        assert 1.0 - 1e-5 <= _noise_gain(fft, length) <= 1.01


def _noise_gain(fft, length):
    """Root mean square, over samples, of what white noise of power 1 in all frames becomes: exact, not sampled.

    A frame of noise windowed has the variance w^2 at each sample; independent frames add up in power.
    """
    frames = torch.eye(fft.chunk_size, dtype=torch.float32)
    spectra = torch.fft.rfft(frames, norm="ortho")[:, None, :, None]
    alone = torch.fft.irfft(spectra[:, 0, :, 0], fft.chunk_size, norm="ortho")
    torch.testing.assert_close(alone, frames)
    count = fft.analysis(signal(length, rows=1, dtype=torch.float32)).shape[1]
    power = torch.zeros(length)
    for c in range(count):
        placed = torch.zeros(fft.chunk_size, count, fft.chunk_size // 2 + 1, 6, dtype=torch.complex64)
        placed[:, c] = spectra[:, 0]
        power += fft.synthesis(placed, length)[..., 0].detach().square().sum(0)
    return power.mean().sqrt().item()


def test_white_noise_on_all_spectra_keeps_its_power():
    fft = made(chunk_size=64, overlap_ratio=0.125)
    with torch.no_grad():
        fft.window_logits.copy_(torch.tensor([20.0, 0.0, 0.0]))
    noise = torch.randn(8, 40, 64, 6, dtype=torch.float64)
    out = fft.synthesis(torch.fft.rfft(noise, dim=2, norm="ortho"), 40 * 56 - 8)
    assert out.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("fades", [False, True])
@pytest.mark.parametrize("length", [1, 31, 75])
def test_spectra_by_definition(length, fades):
    fft = made(learned_fades=fades)
    if fades:
        window = reference.power_fades(fft.fade_steps.detach().numpy(), 8, 32)
    else:
        window = reference.tight(reference.mixed_window(fft.window_logits.detach().numpy(), 32), 24)
    x = signal(length)
    got = fft.analysis(x).detach().numpy()
    frames = np.stack([reference.framed(x[1, :, d].numpy(), 32, 24) for d in range(6)], -1)
    want = np.fft.rfft(frames * window[:, None], axis=1, norm="ortho")
    np.testing.assert_allclose(got[1], want, atol=1e-12)


def test_modulation_by_definition():
    fft, x = made(), signal(75)
    spectrum = fft.analysis(x).detach()
    values = {name: p.detach().numpy() for name, p in fft.named_parameters()}
    bands = reference.log_bands(np.fft.rfftfreq(32), 4)
    want = spectrum.numpy().copy()
    for b in range(2):
        power = np.abs(want[b]) ** 2
        summaries = np.log1p(np.einsum("nf,cfd->cnd", bands / bands.sum(1, keepdims=True), power))
        for n in range(4):
            s = summaries[:, n]
            s = values["chunk_fusion.norm.weight"] * s / np.sqrt((s**2).mean(-1, keepdims=True) + 1e-6)
            q, k, v = np.split(s @ values["chunk_fusion.in_proj.weight"].T, 3, axis=-1)
            q, k = (np.where(z > 0, 1 + z, np.exp(z)) for z in (q, k))
            weights = q @ k.T
            heard = weights / weights.sum(1, keepdims=True) @ v
            logs = values["band_scales"][n] + heard @ values["chunk_fusion.out_proj.weight"].T
            want[b] *= np.exp(bands[n][:, None] * (LIMIT * np.tanh(logs / LIMIT))[:, None])
    np.testing.assert_allclose(fft.modulated(spectrum).detach().numpy(), want, atol=1e-11)


def test_starts_as_the_identity_but_for_the_fusion():
    fft, x = made(moved=False), signal(100)
    torch.nn.init.zeros_(fft.chunk_fusion.out_proj.weight)
    torch.testing.assert_close(fft.process(x), x, atol=1e-12, rtol=0)
    torch.testing.assert_close(fft(fft(x), inverse=True, length=100), x, atol=1e-12, rtol=0)


def test_forward_flattens_chunks_and_goes_back():
    fft, x = made(), signal(75)
    spectra = fft(x)
    assert spectra.shape == (2, 4 * 17, 6)
    torch.testing.assert_close(spectra, fft.modulated(fft.analysis(x)).flatten(1, 2))
    want = fft.process(x)
    torch.testing.assert_close(fft(spectra, inverse=True, length=75), want)
    torch.testing.assert_close(fft(spectra, inverse=True)[:, :75], want)
    assert fft(spectra, inverse=True).shape[1] == 4 * 24 - 8
    torch.testing.assert_close(fft(x, inverse=True), want)


@pytest.mark.parametrize("fades", [False, True])
def test_every_parameter_learns_and_training_is_use(fades):
    fft, x = made(dtype=torch.float32, learned_fades=fades), signal(150, dtype=torch.float32)
    assert torch.equal(fft.train()(x), fft.eval()(x))
    y = fft.train().process(x)
    (y * torch.randn_like(y)).sum().backward()
    assert [n for n, p in fft.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_one_tone_is_scaled_alike_in_chunks_of_any_size():
    """A scale for each bin, or for a share of the bins, would be another filter in longer chunks."""
    tone = torch.sin(2 * torch.pi / 16 * torch.arange(4096, dtype=torch.float64))[None, :, None].expand(1, -1, 6)
    sizes = []
    for width in (64, 256, 1024):
        fft = made(moved=False, chunk_size=width)
        with torch.no_grad():
            fft.band_scales[:] = torch.tensor([0.5, -0.5, 1.0, -1.0], dtype=torch.float64)[:, None]
            fft.chunk_fusion.out_proj.weight.zero_()
        sizes.append(fft.process(tone)[0, 1500:2500, 0].square().mean().sqrt().item() * 2**0.5)
    gain = np.exp(LIMIT * np.tanh(1.0 / LIMIT))
    assert sizes == pytest.approx([gain] * 3, rel=0.02)


def test_a_chunk_is_modulated_not_given_an_impulse():
    """A vector added to all bins of a chunk is a click at its first sample; silence stays silent here."""
    fft, x = made(), signal(200)
    x[:, 60:140] = 0
    assert fft.process(x)[:, 88:112].abs().max() < 1e-12
    assert fft.process(x)[:, :50].abs().min() > 0


@pytest.mark.parametrize("length", [1, 30, 75])
def test_padding_changes_nothing(length):
    fft, x = made(), signal(length)
    want = fft.process(x)
    longer = torch.cat([x, torch.full((2, 130, 6), torch.nan, dtype=x.dtype)], 1)
    mask = (torch.arange(length + 130) < length).expand(2, -1)
    torch.testing.assert_close(fft.process(longer, mask)[:, :length], want, atol=1e-12, rtol=0)
    torch.testing.assert_close(fft.process(longer, mask.long())[:, :length], want, atol=1e-12, rtol=0)
    nothing = fft.process(longer, torch.zeros_like(mask))
    assert (nothing == 0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(nothing.sum(), list(fft.parameters())))


def test_chunks_hear_of_each_other_far_away():
    x = signal(300)
    other = torch.cat([x[:, :200], signal(100, seed=5)], 1)
    both, past = made(), made(past_only=True)
    assert (both.process(x) - both.process(other))[:, :100].abs().max() > 1e-4
    torch.testing.assert_close(past.process(x)[:, :160], past.process(other)[:, :160], atol=1e-12, rtol=0)
    early = torch.cat([signal(100, seed=5), x[:, 100:]], 1)
    assert (past.process(x) - past.process(early))[:, 200:].abs().max() > 1e-4


def test_half_types_are_computed_in_float32():
    fft = made(dtype=torch.bfloat16)
    x = signal(100, dtype=torch.float32)
    y = fft.process(x.bfloat16())
    assert y.dtype is torch.bfloat16
    assert fft.analysis(x.bfloat16()).dtype is torch.complex64
    want = fft.float().process(x)
    assert ((y - want).square().mean() / want.square().mean()).sqrt() < 0.02


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"overlap_ratio": 0.0}, "overlap_ratio=0.0; wanted above 0"),
        ({"overlap_ratio": 0.6}, "overlap_ratio=0.6; wanted above 0"),
        ({"chunk_size": 7, "overlap_ratio": 0.125}, "chunk_size=7 is too small"),
        ({"chunk_size": 0}, "chunk_size=0; wanted at least 1"),
        ({"num_freq_bands": 0}, "num_freq_bands=0; wanted"),
        ({"max_seq_len": 0}, "max_seq_len=0; wanted"),
    ],
)
def test_sizes_that_cannot_work_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        made(**options)


def test_inputs_that_cannot_be_are_refused():
    fft = made(max_seq_len=100)
    with pytest.raises(ValueError, match="length=0; wanted 1 to max_seq_len=100"):
        fft.process(signal(0))
    with pytest.raises(ValueError, match="length=101; wanted 1 to max_seq_len=100"):
        fft.analysis(signal(101))
    with pytest.raises(ValueError, match="a spectrum of 5 channels; wanted dim=6"):
        fft.synthesis(fft.analysis(signal(50))[..., :5], 50)
    with pytest.raises(ValueError, match="x has 5 channels; wanted dim=6"):
        fft(signal(50)[..., :5])
    spectrum = fft.analysis(signal(75))
    with pytest.raises(
        ValueError, match=r"\(4, 17\) chunks and bins does not belong to length=30, which gives \(2, 17\)"
    ):
        fft.synthesis(spectrum, 30)
    with pytest.raises(ValueError, match="67 rows with inverse=True"):
        fft(spectrum.flatten(1, 2)[:, 1:], inverse=True)
    with pytest.raises(ValueError, match="with inverse=False"):
        fft(spectrum.flatten(1, 2))
