"""The spectral gap of features: exact where it is known, and never across sequences."""

import math

import numpy as np
import pytest
import torch

from tests.reference import graph as reference
from undula.nn.wavelet import EnhancedWaveletTransform
from undula.validation.spectral_gap import SpectralGapAnalyzer


def features(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clusters(number, each=12, spread=0.02):
    """Vectors around so many directions that are at right angles."""
    centres = torch.eye(number).repeat_interleave(each, dim=0)
    return (centres + spread * features(number * each, number)).abs()


def test_the_gap_is_that_of_the_definition():
    x = features(30, 4)
    want = np.linalg.eigvalsh(reference.laplacian(reference.similarity_weights(x.double().numpy(), 10)))
    found = SpectralGapAnalyzer().analyze(x)
    assert found["eigenvalues"] == pytest.approx(want[:10].tolist(), abs=1e-10)
    assert found["spectral_gap"] == pytest.approx(want[1], abs=1e-10)
    assert found["groups"] == np.diff(want[:10]).argmax() + 1
    assert (found["cheeger_low"], found["cheeger_high"]) == pytest.approx((want[1] / 2, math.sqrt(2 * want[1])))


def test_cheeger_s_bounds_hold_for_the_best_cut():
    x = features(9, 3, seed=4)
    weights = reference.similarity_weights(x.double().numpy(), 4)
    degree, best = weights.sum(1), math.inf
    for cut in range(1, 2**8):
        side = np.array([cut >> i & 1 for i in range(9)], dtype=bool)
        best = min(best, weights[side][:, ~side].sum() / min(degree[side].sum(), degree[~side].sum()))
    found = SpectralGapAnalyzer(neighbours=4).analyze(x)
    assert found["parts"] == 1
    assert 0 < found["cheeger_low"] <= best <= found["cheeger_high"]


@pytest.mark.parametrize("number", [2, 3, 5])
def test_clear_groups_are_counted(number):
    """A small gap means separated structure; where it stands among the eigenvalues says how many groups there are."""
    found = SpectralGapAnalyzer(neighbours=15).analyze(clusters(number))
    assert found["groups"] == number
    assert 0 < found["spectral_gap"] < 0.1
    apart = SpectralGapAnalyzer(neighbours=5).analyze(clusters(number, spread=0.0))
    assert (apart["spectral_gap"], apart["parts"], apart["groups"]) == (0.0, number, number)


def test_vectors_that_are_alike_and_single_ones():
    alike = SpectralGapAnalyzer().analyze(torch.ones(8, 3))
    assert alike["spectral_gap"] == pytest.approx(8 / 7)
    one = SpectralGapAnalyzer().analyze(torch.ones(1, 3))
    assert (one["spectral_gap"], one["parts"], one["eigenvalues"]) == (0.0, 1, [0.0])


def test_sequences_of_a_batch_are_never_joined():
    """All vectors of a batch were one graph: its gap was that between sequences."""
    x = features(3, 20, 4)
    analyzer = SpectralGapAnalyzer()
    found, each = analyzer.analyze(x), [analyzer.analyze(row) for row in x]
    assert found["gaps"] == [one["spectral_gap"] for one in each]
    assert found["spectral_gap"] == pytest.approx(np.mean(found["gaps"]))
    assert analyzer.analyze(torch.cat([x, features(1, 20, 4, seed=9)]))["gaps"][:3] == found["gaps"]


def test_a_wavelet_representation():
    analyzer, transform = SpectralGapAnalyzer(), EnhancedWaveletTransform("db2", levels=2)
    approx, details = transform(features(2, 64, 5))
    found = analyzer.analyze_wavelet_representation((approx, details))
    low, high = analyzer.analyze(approx), [analyzer.analyze(detail) for detail in details]
    assert found["approx_gap"] == low["spectral_gap"]
    assert found["detail_gaps"] == [one["spectral_gap"] for one in high]
    assert found["overall_gap"] == pytest.approx(0.6 * low["spectral_gap"] + 0.4 * np.mean(found["detail_gaps"]))
    assert found["approx_eigenvalues"] == low["eigenvalues"][:5]
    assert [len(values) for values in found["detail_eigenvalues"]] == [5, 5]
    # Without details there was a division by zero.
    assert analyzer.analyze_wavelet_representation((approx, []))["overall_gap"] == low["spectral_gap"]


def test_a_dense_laplacian_will_do():
    analyzer = SpectralGapAnalyzer(device="cpu")
    laplacian = analyzer.compute_laplacian(features(20, 4))
    gaps = [analyzer.compute_spectral_gap(given)[0] for given in (laplacian, laplacian.to_dense())]
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-12)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((4, 2), float("nan")), "hold NaN or infinity"),
        (torch.zeros(0, 2), "0 vectors"),
        (torch.zeros(0, 5, 2), "no sequence"),
    ],
)
def test_bad_features(x, message):
    with pytest.raises(ValueError, match=message):
        SpectralGapAnalyzer().analyze(x)


@pytest.mark.parametrize("settings", [{"neighbours": 0}, {"eigenvalues": 1}])
def test_bad_settings(settings):
    with pytest.raises(ValueError, match="wanted at least 1 and 2"):
        SpectralGapAnalyzer(**settings)
