"""Signal embeddings: sums of sinusoids by definition, all dimensions used, one table for vectors and scores."""

import math

import numpy as np
import pytest
import torch

from undula.nn.signal_embedding import HybridEmbedding, SignalPositionalEncoding, SpectralEmbedding


def definition(amplitudes, phases, width):
    """e(n) = sum_h A_h sin(2 pi h n / E + phi_h) for each token."""
    out = np.zeros((len(amplitudes), width))
    for v in range(len(out)):
        for n in range(width):
            for h in range(amplitudes.shape[1]):
                out[v, n] += amplitudes[v, h] * math.sin(2 * math.pi * (h + 1) * n / width + phases[v, h])
    return out


@pytest.mark.parametrize(("width", "harmonics"), [(16, 5), (17, 8), (3, 1)])
def test_vectors_are_sums_of_sinusoids(width, harmonics):
    built = SpectralEmbedding(7, width, harmonics)
    want = definition(built.amplitudes().detach().numpy(), built.phases().detach().numpy(), width)
    got = built(torch.arange(7)[None])[0].detach().numpy()
    np.testing.assert_allclose(got, want, atol=1e-7)


def test_all_dimensions_are_used():
    """Frequencies from 0.1 to pi cycles spanned 12 dimensions, however many there were."""
    built = SpectralEmbedding(200, 128, 40)
    singular = torch.linalg.svdvals(built(torch.arange(200)[None])[0].detach())
    assert (singular > 1e-3 * singular[0]).sum() == 80
    basis = built.basis(torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(basis @ basis.T, torch.eye(80, dtype=torch.float64), atol=1e-12, rtol=0)


def test_vectors_start_no_larger_than_those_of_a_table():
    """They grew with the number of harmonics, to twice a table's of unit variance."""
    for harmonics in (8, 32, 63):
        size = SpectralEmbedding(500, 128, harmonics)(torch.arange(500)[None]).std().item()
        assert size == pytest.approx(0.02 * (2 * harmonics / 128) ** 0.5, rel=0.05)


@pytest.mark.parametrize("kind", [SpectralEmbedding, HybridEmbedding])
def test_scores_are_products_with_the_same_vectors(kind):
    built, x = kind(11, 16, 4), torch.randn(2, 5, 16)
    torch.testing.assert_close(built.scores(x), x @ built(torch.arange(11)[None])[0].T)


def test_nothing_is_as_large_as_batch_steps_harmonics_and_width():
    sizes = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend([out.numel()] if isinstance(out, torch.Tensor) else [])
            return out

    built, ids = SpectralEmbedding(50, 64, 16), torch.randint(50, (4, 30))
    with Sizes():
        built(ids)
    assert max(sizes) == 4 * 30 * 64


def test_statistics_count_occurrences():
    """Batches that held a token were counted, and the counts were saved with the weights."""
    built = SpectralEmbedding(5, 16, 3)
    assert list(built.state_dict()) == ["coefficients.weight"]
    stats = built.get_spectral_stats(torch.tensor([[1, 1, 1], [3, 1, 3]]))
    assert stats["token_usage"].tolist() == [0, 4, 0, 2, 0]
    assert stats["top_tokens"][:2].tolist() == [1, 3]
    power = built.amplitudes().square() / 2
    torch.testing.assert_close(stats["power_spectrum"], (4 * power[1] + 2 * power[3]) / 6)
    vectors = built(torch.tensor([[1, 3]]))[0]
    spread = (4 * vectors[0].square().mean() + 2 * vectors[1].square().mean()) / 6
    assert stats["power_spectrum"].sum().item() == pytest.approx(spread.item(), rel=1e-5)
    assert built.get_spectral_stats()["token_usage"].tolist() == [1] * 5
    assert stats["frequency_amplitudes"].shape == stats["frequency_phases"].shape == (5, 3)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_the_ratio_is_the_one_that_was_asked_for(ratio):
    """A ratio of 0.5 gave 0.62."""
    built = HybridEmbedding(9, 16, 3, spectral_ratio=ratio)
    assert built.get_mixing_ratio() == pytest.approx(ratio, abs=1e-6)
    ids = torch.arange(9)[None]
    torch.testing.assert_close(built(ids), (1 - ratio) * built.standard(ids) + ratio * built.spectral(ids))
    built(ids).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in built.parameters())


@pytest.mark.parametrize("width", [1, 6, 7])
def test_positions_are_sinusoids_in_even_and_odd_widths(width):
    built = SignalPositionalEncoding(100, width)
    with torch.no_grad():
        built.freq_mod += torch.randn(width)
        built.amplitude += torch.randn(width)
    got = built(torch.zeros(1, 150, width))[0].detach()
    for d in range(width):
        rate = 100 ** (-(d // 2 * 2) / max(width - 1, 1)) + built.freq_mod[d].item() / 100
        want = [built.amplitude[d].item() * math.sin(rate * t + (math.pi / 2) * (d % 2)) for t in range(150)]
        assert got[:, d].tolist() == pytest.approx(want, abs=1e-5)


def test_rates_and_shifts_are_rates_and_shifts():
    """What was called frequency scaled amplitudes, what was called phase was added to the sum."""
    built = SignalPositionalEncoding(50, 4)
    before = built(torch.zeros(1, 50, 4))
    with torch.no_grad():
        built.phase_shift += math.pi
    torch.testing.assert_close(built(torch.zeros(1, 50, 4)), -before, atol=1e-7, rtol=0)
    with torch.no_grad():
        built.freq_mod += 2 * math.pi * 50
    torch.testing.assert_close(built(torch.zeros(1, 50, 4)), -before, atol=1e-5, rtol=0)


def test_positions_of_their_own_and_beyond_the_longest():
    built, x = SignalPositionalEncoding(8, 6), torch.zeros(2, 20, 6)
    whole = built(x)
    at = torch.tensor([[3, 4], [17, 18]])
    got = built(x[:, :2], at)
    torch.testing.assert_close(got[0], whole[0, 3:5])
    torch.testing.assert_close(got[1], whole[1, 17:19])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SpectralEmbedding(10, 16, 8), "harmonic_bases=8; wanted .* at most 7 frequencies for embed_dim=16"),
        (lambda: SpectralEmbedding(10, 16, 0), "harmonic_bases=0"),
        (lambda: SpectralEmbedding(0, 16, 4), "vocab_size=0"),
        (lambda: HybridEmbedding(10, 16, 4, 1.0), "spectral_ratio=1.0; wanted a share between 0 and 1"),
        (lambda: HybridEmbedding(10, 16, 4, 0.0), "spectral_ratio=0.0"),
        (lambda: SignalPositionalEncoding(0, 4), "max_seq_length=0"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()
