"""Graphs of similar vectors, and the small eigenvalues of their Laplacians."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

BLOCK = 1024
"""Rows of the similarity matrix that exist at a time."""
DENSE = 1024
"""Nodes up to which all eigenvalues are computed at once."""
CONVERGED = 1e-3
"""Residual of an eigenvector above which the iteration is not believed: the eigenvalue is off by its square."""


class Graph(NamedTuple):
    """Edges with weights; each edge stands in both directions, and no node is joined to itself.

    Args:
        edges: where each begins and ends.
        weights: positive.
        nodes: how many there are.
    """

    edges: Int[Tensor, "2 E"]
    weights: Float[Tensor, " E"]
    nodes: int


def similarity_graph(x: Float[Tensor, "N D"], neighbours: int) -> Graph:
    """Return the graph in which each vector is joined to its nearest ones, and to those whose nearest it is.

    The weight is the cosine of the angle between two vectors; where that is not positive there is no edge. Computed in
    float64 where the device has it; cost N^2 D, memory N (D + neighbours).

    Args:
        x: vectors; one of zeros is joined to nothing.
        neighbours: the most that each one chooses.

    Raises:
        ValueError: for no vector, no neighbour, or NaN and infinity.

    Source: von Luxburg, "A tutorial on spectral clustering" (2007), section 2.2.
    """
    if not len(x) or neighbours < 1:
        raise ValueError(f"{len(x)} vectors with {neighbours} neighbours; wanted at least 1 of each")
    if not x.isfinite().all():
        raise ValueError("the vectors hold NaN or infinity; wanted finite numbers")
    wide = x.float() if x.device.type == "mps" else x.double()
    # Scaled first: the square of a large or tiny entry is beyond a float.
    largest = wide.abs().amax(1, keepdim=True)
    unit = F.normalize(wide / torch.where(largest > 0, largest, 1.0), dim=1)
    count = len(x)
    rows, columns, weights = [], [], []
    for start in range(0, count, BLOCK):
        near = unit[start : start + BLOCK] @ unit.t()
        own = torch.arange(start, start + len(near), device=x.device)
        near[own - start, own] = -1.0
        best = near.topk(min(neighbours, count), dim=1)
        rows.append(own[:, None].expand_as(best.indices).flatten())
        columns.append(best.indices.flatten())
        weights.append(best.values.flatten())
    begin, end, weight = torch.cat(rows), torch.cat(columns), torch.cat(weights)
    kept = weight > 0
    begin, end, weight = begin[kept], end[kept], weight[kept]
    both = torch.cat([begin * count + end, end * count + begin])
    keys, place = both.unique(return_inverse=True)
    summed = weight.new_zeros(len(keys)).scatter_reduce_(0, place, weight.repeat(2), "amax")
    return Graph(torch.stack([keys // count, keys % count]), summed, count)


def normalised_laplacian(graph: Graph) -> Float[Tensor, "N N"]:
    """Return I - D^(-1/2) W D^(-1/2), sparse; its eigenvalues lie in [0, 2]. The row of a lonely node is zero.

    Source: Chung, Spectral Graph Theory (1997), chapter 1.
    """
    begin, end = graph.edges
    degree = graph.weights.new_zeros(graph.nodes).index_add_(0, begin, graph.weights)
    lonely = degree == 0
    root = torch.where(lonely, 1.0, degree).rsqrt()
    nodes = torch.arange(graph.nodes, device=begin.device)
    edges = torch.cat([graph.edges, nodes.expand(2, -1)], dim=1)
    values = torch.cat([-graph.weights * root[begin] * root[end], torch.where(lonely, 0.0, torch.ones_like(degree))])
    return torch.sparse_coo_tensor(edges, values, (graph.nodes, graph.nodes), check_invariants=False).coalesce()


def components(laplacian: Float[Tensor, "N N"]) -> Int[Tensor, " N"]:
    """Return for each node of a (sparse) Laplacian the lowest number of a node that it is connected with.

    Each round looks at all edges and doubles how far a number has come: about log N of them.
    """
    begin, end = laplacian.coalesce().indices()
    labels = torch.arange(laplacian.shape[0], device=begin.device)
    while True:
        lower = labels.scatter_reduce(0, begin, labels[end], "amin")
        lower = lower[lower]
        if torch.equal(lower, labels):
            return labels
        labels = lower


def smallest_eigenvalues(laplacian: Float[Tensor, "N N"], count: int) -> Float[Tensor, " k"]:
    """Return the smallest eigenvalues of a normalised (sparse) Laplacian, rising; at most N.

    As many are exactly 0 as the graph has parts. Up to 1024 nodes all are computed; beyond, LOBPCG finds the smallest
    in memory N count; where it has not converged, all are computed after all.

    Raises:
        ValueError: when none is asked for.

    Source: Knyazev, SIAM J. Sci. Comput. 23 (2001) 517 (LOBPCG).
    """
    nodes = laplacian.shape[0]
    if count < 1:
        raise ValueError(f"count={count}; wanted at least 1 eigenvalue")
    count = min(count, nodes)
    labels = components(laplacian)
    zeros = len(labels.unique())
    if zeros >= count:
        return torch.zeros(count, dtype=laplacian.dtype, device=laplacian.device)
    found = None if nodes <= max(DENSE, 3 * count) else _iterated(laplacian, count, labels)
    if found is None:
        found = torch.linalg.eigvalsh(laplacian.to_dense())[:count]
    found = found.clamp(0.0, 2.0)
    found[:zeros] = 0.0
    return found


def _iterated(laplacian: Tensor, count: int, labels: Tensor) -> Tensor | None:
    """The smallest eigenvalues by LOBPCG; None where they have not converged."""
    names, part = labels.unique(return_inverse=True)
    # Eigenvectors of 0 live on one part each: these starting vectors are near to them.
    start = torch.randn(len(labels), count, dtype=laplacian.dtype, generator=torch.Generator().manual_seed(0)).to(
        laplacian.device
    )
    start[:, : len(names)] = F.one_hot(part, len(names)).to(start)
    values, vectors = torch.lobpcg(laplacian, k=count, X=start, niter=500, tol=1e-8, largest=False)
    residual = (torch.sparse.mm(laplacian, vectors) - vectors * values).norm(dim=0)
    order = values.argsort()
    return values[order] if bool((residual < CONVERGED).all()) else None
