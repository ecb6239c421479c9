"""Graphs of similar vectors by definition, in loops over float64."""

import numpy as np


def similarity_weights(x, neighbours):
    """Each vector chooses its nearest; the weight is the cosine where it is positive."""
    count = len(x)
    cosine = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            lengths = np.sqrt((x[i] ** 2).sum() * (x[j] ** 2).sum())
            cosine[i, j] = (x[i] * x[j]).sum() / lengths if lengths else 0.0
    weights = np.zeros((count, count))
    for i in range(count):
        others = [j for j in range(count) if j != i]
        for j in sorted(others, key=lambda j: -cosine[i, j])[:neighbours]:
            weights[i, j] = weights[j, i] = max(cosine[i, j], 0.0)
    return weights


def laplacian(weights):
    """I - D^(-1/2) W D^(-1/2), with zero rows for nodes without an edge."""
    degree = weights.sum(1)
    found = np.zeros_like(weights)
    for i in range(len(weights)):
        for j in range(len(weights)):
            if degree[i] and degree[j]:
                found[i, j] = (i == j) - weights[i, j] / np.sqrt(degree[i] * degree[j])
    return found


def parts(weights):
    """How many connected parts there are, by walking."""
    left, number = set(range(len(weights))), 0
    while left:
        number += 1
        walk = [left.pop()]
        while walk:
            node = walk.pop()
            near = {j for j in left if weights[node, j] > 0}
            left -= near
            walk += near
    return number
