"""Graphs and eigenvalues against their definitions, scipy's Laplacian, and graphs whose spectrum is known."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse import csgraph

from tests.reference import graph as reference
from undula.ops import graph as ops
from undula.ops.graph import components, normalised_laplacian, similarity_graph, smallest_eigenvalues


def vectors(count, width=5, seed=0):
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def known(weights):
    """The Laplacian of a matrix of weights."""
    edges = torch.tensor(np.array(np.nonzero(weights)))
    values = torch.from_numpy(weights[np.nonzero(weights)])
    return normalised_laplacian(ops.Graph(edges, values, len(weights)))


def dense(x, neighbours):
    return normalised_laplacian(similarity_graph(x, neighbours)).to_dense().numpy()


@pytest.mark.parametrize(("count", "neighbours"), [(1, 3), (2, 1), (17, 4), (40, 100)])
def test_graph_and_laplacian_are_those_of_the_definition(count, neighbours):
    x = vectors(count)
    weights = reference.similarity_weights(x.numpy(), neighbours)
    graph = similarity_graph(x, neighbours)
    got = torch.sparse_coo_tensor(graph.edges, graph.weights, (count, count), check_invariants=True).to_dense()
    assert np.abs(got.numpy() - weights).max() < 1e-12
    assert (graph.weights > 0).all()
    laplacian = normalised_laplacian(graph).to_dense().numpy()
    assert np.abs(laplacian - reference.laplacian(weights)).max() < 1e-12
    assert np.abs(laplacian - csgraph.laplacian(weights, normed=True)).max() < 1e-12


def test_blocks_of_rows_change_nothing(monkeypatch):
    x = vectors(50)
    want = dense(x, 6)
    monkeypatch.setattr(ops, "BLOCK", 7)
    assert np.abs(dense(x, 6) - want).max() < 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_the_spectrum_lies_between_0_and_2_and_scale_does_not_matter(seed):
    """Negative similarities were edges: the smallest eigenvalue was -5.6; the gap grew with the degree."""
    x = vectors(10, seed=seed)
    values = np.linalg.eigvalsh(dense(x, 10))
    assert values.min() > -1e-12
    assert values.max() < 2 + 1e-12
    for scale in (1e-200, 1e200):
        assert np.abs(np.linalg.eigvalsh(dense(scale * x, 10)) - values).max() < 1e-9


def test_parts_are_counted_exactly():
    near = torch.tensor([0.0, 1.0])[torch.arange(30) % 2]
    x = torch.stack([1 - near, near], dim=1) * (1 + vectors(30, 1).abs())
    graph = similarity_graph(x, 3)
    weights = torch.sparse_coo_tensor(graph.edges, graph.weights, (30, 30), check_invariants=True).to_dense().numpy()
    labels = components(normalised_laplacian(graph))
    assert len(labels.unique()) == reference.parts(weights) == csgraph.connected_components(weights)[0]
    # A path of 200 nodes, the farthest that a number can have to go.
    path = np.diag(np.ones(199), 1)
    assert components(known(path + path.T)).tolist() == [0] * 200
    order = np.random.default_rng(0).permutation(200)
    assert len(components(known((path + path.T)[np.ix_(order, order)])).unique()) == 1


@pytest.mark.parametrize("nodes", [3, 8, 21])
def test_rings_and_complete_graphs_have_the_known_spectrum(nodes):
    ring = np.roll(np.eye(nodes), 1, 1) + np.roll(np.eye(nodes), -1, 1)
    want = sorted(1 - math.cos(2 * math.pi * k / nodes) for k in range(nodes))
    assert smallest_eigenvalues(known(ring), nodes).tolist() == pytest.approx(want, abs=1e-12)
    whole = 0.3 * (np.ones((nodes, nodes)) - np.eye(nodes))
    want = [0.0] + [nodes / (nodes - 1)] * (nodes - 1)
    assert smallest_eigenvalues(known(whole), nodes).tolist() == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize("apart", [0, 2])
def test_eigenvalues_are_numpy_s(monkeypatch, iterated, apart):
    x = vectors(240, 3)
    x = torch.block_diag(x, *(vectors(40, 2, seed).abs() for seed in range(apart)))
    laplacian = normalised_laplacian(similarity_graph(x, 8))
    want = np.linalg.eigvalsh(laplacian.to_dense().numpy())[:6]
    if iterated:
        monkeypatch.setattr(ops, "DENSE", 0)
        monkeypatch.setattr(torch.linalg, "eigvalsh", None)
    got = smallest_eigenvalues(laplacian, 6)
    assert np.abs(got.numpy() - want).max() < 1e-7
    assert (got == 0).sum() == apart + 1


def test_where_the_iteration_has_not_converged_all_are_computed(monkeypatch):
    laplacian = normalised_laplacian(similarity_graph(vectors(100, 3), 5))
    want = smallest_eigenvalues(laplacian, 4)
    monkeypatch.setattr(ops, "DENSE", 0)
    lobpcg = torch.lobpcg
    monkeypatch.setattr(torch, "lobpcg", lambda *args, **options: lobpcg(*args, **{**options, "niter": 1}))
    torch.testing.assert_close(smallest_eigenvalues(laplacian, 4), want, atol=1e-12, rtol=0)


def test_nodes_without_an_edge_are_parts_of_their_own():
    x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    laplacian = normalised_laplacian(similarity_graph(x, 3))
    assert components(laplacian).tolist() == [0, 0, 2, 3]
    assert smallest_eigenvalues(laplacian, 4).tolist() == [0.0, 0.0, 0.0, pytest.approx(2.0)]
    assert smallest_eigenvalues(normalised_laplacian(similarity_graph(x[:1], 3)), 4).tolist() == [0.0]


def test_random_numbers_are_left_alone(monkeypatch):
    monkeypatch.setattr(ops, "DENSE", 0)
    before = torch.get_rng_state()
    smallest_eigenvalues(normalised_laplacian(similarity_graph(vectors(100, 3), 5)), 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_input():
    with pytest.raises(ValueError, match="0 vectors with 3 neighbours"):
        similarity_graph(vectors(0), 3)
    with pytest.raises(ValueError, match="4 vectors with 0 neighbours"):
        similarity_graph(vectors(4), 0)
    with pytest.raises(ValueError, match="hold NaN or infinity"):
        similarity_graph(torch.tensor([[1.0, float("nan")]]), 3)
    with pytest.raises(ValueError, match="count=0"):
        smallest_eigenvalues(normalised_laplacian(similarity_graph(vectors(4), 3)), 0)
