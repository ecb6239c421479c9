"""The wave-native optimizer by its definition: an SVD of the matrix at every step, in float64."""

import numpy as np


def projectors(W, rank=None):
    """U U^T and V V^T of the thin SVD, or of its leading directions."""
    U, _, Vh = np.linalg.svd(W, full_matrices=False)
    U, Vh = U[:, :rank], Vh[:rank]
    return U @ U.T, Vh.T @ Vh


def column_projector(W, cut=1e-5):
    """Projector onto the columns of W whose singular values are more than `cut` of the largest."""
    U, s, _ = np.linalg.svd(W, full_matrices=False)
    U = U[:, s > cut * s[0]] if s[0] > 0 else U[:, :0]
    return U @ U.T


def coherent(g, W, weight, rank=None, basis=None):
    """c U U^T g V V^T + (1 - c) g, with singular vectors of W or of an earlier matrix."""
    if W.ndim != 2:
        return g
    left, right = projectors(W if basis is None else basis, rank)
    return weight * left @ g @ right + (1 - weight) * g


def trajectory(W, gradient, steps, *, lr, damping, weight, decay, refresh=1, rank=None):
    """All W after each step, for a gradient that is a function of W and the step."""
    v, basis, path = np.zeros_like(W), W, []
    for t in range(steps):
        if t % refresh == 0:
            basis = W
        g = coherent(gradient(W, t) + decay * W, W, weight, rank, basis)
        v = (1 - damping) * v - lr * g
        W = W + v
        path.append(W)
    return path


def late_trajectory(W, gradient, steps, *, lr, damping, weight, decay, every):
    """The same, but what a force did outside the span is taken back in the next step that `every` divides.

    The motion is kept in two parts: what there was at the last such step, and what forces made of it since.
    """
    coasting, driven, way, path = np.zeros_like(W), np.zeros_like(W), np.zeros_like(W), []
    for t in range(1, steps + 1):
        before = W
        coasting = (1 - damping) * coasting
        driven = (1 - damping) * driven - lr * (gradient(W, t - 1) + decay * W)
        way = way + driven
        W = W + coasting + driven
        if t % every == 0:
            W = W - way + coherent(way, way, weight, basis=before)
            coasting = coasting + coherent(driven, driven, weight, basis=before)
            driven, way = np.zeros_like(W), np.zeros_like(W)
        path.append(W)
    return path


def adaptive_trajectory(W, gradient, steps, *, lr, damping, weight, decay, beta2, rank=None):
    """The same with averages of the force and its square, corrected for their start at zero; decay apart from both."""
    m, s, path = np.zeros_like(W), np.zeros_like(W), []
    for t in range(1, steps + 1):
        f = coherent(gradient(W, t - 1), W, weight, rank)
        m = (1 - damping) * m + damping * f
        s = beta2 * s + (1 - beta2) * f**2
        size = np.sqrt(s / (1 - beta2**t)) + 1e-8
        W = (1 - lr * decay) * W - lr * m / (1 - (1 - damping) ** t) / size
        path.append(W)
    return path
