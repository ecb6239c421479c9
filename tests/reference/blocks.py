"""Norms and feed-forwards, by definition, in float64."""

import numpy as np

from tests.reference.attention import rms_norm

__all__ = ["position_wise", "rms_norm", "silu", "swiglu"]


def silu(x):
    return x / (1 + np.exp(-x))


def swiglu(x, p):
    return (silu(x @ p["w1.weight"].T) * (x @ p["w3.weight"].T)) @ p["w2.weight"].T


def position_wise(x, p):
    hidden = np.maximum(x @ p["linear1.weight"].T + p["linear1.bias"], 0)
    return hidden @ p["linear2.weight"].T + p["linear2.bias"]
