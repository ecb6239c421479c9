"""Linear attention to a source through landmarks of its spectrum: global, and a constant cost for each position."""

import math
from dataclasses import dataclass
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.mixers.base import State
from undula.mixers.cross import CROSS_MIXERS, CrossMixer, Memory
from undula.nn.norms import RMSNorm
from undula.ops.attention import cross_sdpa, cross_weights
from undula.ops.landmarks import spectral_landmarks
from undula.shapes import Sequence


@dataclass
class LandmarkState(State):
    """Keys of the landmarks, what each of them gathered, which of them there are, and the weights of the gathering."""

    landmarks: Float[Tensor, "B N M E"]
    gathered: Float[Tensor, "B N M E"]
    there: Bool[Tensor, "B M"]
    weights: Float[Tensor, "B N M S"]


@CROSS_MIXERS.register("landmarks")
class CrossLandmarks(CrossMixer):
    """Each position reads phi(q) [phi(k)^T v], normalised linear attention whose features are scores at M landmarks.

    The landmarks are the lowest M frequencies of the source, sampled again (`ops.landmarks`), and c_j their keys, by
    the same projection as the keys k_s of the source. Landmark j gathers g_j = sum_s w_js v_s with w_js = softmax over
    s of c_j . k_s / sqrt(E) - a (p_j - p_s)^2, where a is a learned sharpness per head and p are places, in landmarks.
    A query reads sum_j softmax_j(q . c_j / sqrt(E)) g_j. So phi(q) = softmax_j, phi(k)_j = w_js, the state phi(k)^T v
    has M rows, and the weights of source positions are sum_j softmax_j w_js: at least 0, 1 in sum.

    Absorbing a source costs S M, a position M, whatever S: S + T in all, where attention costs S T. While a source is
    no longer than M, its landmarks are its positions, and large a makes this cross-attention.

    Args:
        d_model: width.
        num_heads: heads; divides d_model.
        num_landmarks: M.

    Raises:
        ValueError: when heads do not divide the width, or there is no landmark.

    Source: Spectral Neural Networks, component 4; Han et al., "Agent Attention", arXiv 2312.08874 (the two softmaxes);
    Xiong et al., "Nystromformer", arXiv 2102.03902 (landmarks).
    """

    def __init__(self, d_model: int, num_heads: int, *, num_landmarks: int = 64) -> None:
        super().__init__()
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(f"d_model={d_model} is not a multiple of num_heads={num_heads}; change one of them")
        if num_landmarks < 1:
            raise ValueError(f"num_landmarks={num_landmarks}; wanted at least 1")
        self.num_heads, self.num_landmarks = num_heads, num_landmarks
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.kv_proj = nn.Linear(d_model, 2 * d_model, bias=False)
        self.q_norm, self.k_norm = RMSNorm(d_model // num_heads), RMSNorm(d_model // num_heads)
        # From near neighbours alone (e^-4) to a wide view (e^-0.5) at a distance of one landmark.
        spread = math.log(4.0) - math.log(8.0) * torch.arange(num_heads) / max(num_heads - 1, 1)
        self.log_sharpness = nn.Parameter(spread)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def absorb(self, memory: Memory) -> LandmarkState:
        """Return landmarks and what they gather."""
        hidden = memory.hidden
        real = hidden.new_ones(hidden.shape[:2], dtype=torch.bool) if memory.real is None else memory.real
        points, there, at, places = spectral_landmarks(hidden, real, self.num_landmarks)
        k, v = self.kv_proj(hidden).chunk(2, dim=-1)
        k, v = self.k_norm(self._by_heads(k)), self._by_heads(v)
        c = k
        if points.shape[1] < hidden.shape[1]:
            c = self.k_norm(self._by_heads(F.linear(points, self.kv_proj.weight[: len(self.out_proj.weight)])))
        distance = (at[:, :, None] - places[:, None]).square()[:, None]
        weights = cross_weights(c, k, real, -self.log_sharpness.exp()[:, None, None] * distance)
        return LandmarkState(c, weights @ v, there, weights)

    def forward(self, x: Sequence, source: State) -> Sequence:
        """Read; see `CrossMixer.forward`."""
        source = cast(LandmarkState, source)
        q = self.q_norm(self._by_heads(self.q_proj(x)))
        out = cross_sdpa(q, source.landmarks, source.gathered, source.there)
        return self.out_proj(rearrange(out, "b n t e -> b t (n e)"))

    def alignment(self, x: Sequence, source: State) -> Float[Tensor, "B N T S"]:
        """Return the weights of landmarks, passed on to the positions that these gather."""
        source = cast(LandmarkState, source)
        q = self.q_norm(self._by_heads(self.q_proj(x)))
        return cross_weights(q, source.landmarks, source.there) @ source.weights

    def _by_heads(self, x: Float[Tensor, "B S D"]) -> Float[Tensor, "B N S E"]:
        return rearrange(x, "b s (n e) -> b n s e", n=self.num_heads)
