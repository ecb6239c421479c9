"""Overlapping frames: taken from a signal, windowed so that nothing is lost or made louder, and added up again."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from undula.ops.phase import wide_dtype


def frame_count(length: int, width: int, hop_length: int) -> int:
    """Return how many frames cover `length` samples fully; see `framed`."""
    return max(0, (length - 1 + width - hop_length) // hop_length + 1)


def framed(x: Float[Tensor, "*batch T"], width: int, hop_length: int) -> Float[Tensor, "*batch C L"]:
    """Return C frames of L = width samples, `hop_length` apart, such that every sample lies in as many as any other.

    Frame c begins at sample c hop - (width - hop); outside the signal there are zeros. Each frame holds at least one
    sample, so one more sample never changes the frames before it other than by the sample itself. A view of a padded
    copy: frames share their memory.
    """
    length, before = x.shape[-1], width - hop_length
    total = (frame_count(length, width, hop_length) - 1) * hop_length + width
    return F.pad(x, (before, total - before - length)).unfold(-1, width, hop_length)


def unframed(frames: Float[Tensor, "*batch C L"], hop_length: int, length: int) -> Float[Tensor, "*batch T"]:
    """Return the sum of overlapping frames at the samples that `framed` took them from."""
    before = frames.shape[-1] - hop_length
    return overlap_add(frames, hop_length)[..., before : before + length]


def overlap_add(frames: Float[Tensor, "*batch T L"], hop_length: int) -> Float[Tensor, "*batch samples"]:
    """Return the sum of frames laid `hop_length` samples apart: (T - 1) hop + L samples, none for no frame."""
    steps, width = frames.shape[-2:]
    if steps == 0:
        return frames.new_zeros(*frames.shape[:-2], 0)
    total = (steps - 1) * hop_length + width
    columns = frames.flatten(0, -3).transpose(-1, -2) if frames.ndim > 2 else frames.t()[None]
    return F.fold(columns, (1, total), (1, width), stride=(1, hop_length)).reshape(*frames.shape[:-2], total)


def tight(window: Float[Tensor, " L"], hop_length: int) -> Float[Tensor, " L"]:
    """Return w / sqrt(sum_k w[n + k hop]^2): the squares of its shifts by `hop_length` sum to 1 everywhere.

    The canonical tight window. Used before and after a change it gives back what was not changed, exactly, and white
    noise added in between keeps its power. Every sample needs one shift that is not zero there.
    """
    rows = F.pad(window, (0, -len(window) % hop_length)).view(-1, hop_length)
    power = rows.square().sum(0).repeat(len(rows))[: len(window)]
    return window / power.sqrt()


def mixed_window(logits: Float[Tensor, "3"], width: int) -> Float[Tensor, " L"]:
    """Return sum_i softmax(logits)_i window_i of Hann, Hamming and rectangle (periodic forms), in the widest float."""
    n = torch.arange(width, device=logits.device, dtype=wide_dtype(logits.device))
    cosine = torch.cos(2 * math.pi * n / width)
    windows = torch.stack([0.5 - 0.5 * cosine, 0.54 - 0.46 * cosine, torch.ones_like(cosine)])
    return torch.softmax(logits.to(windows.dtype), 0) @ windows


def power_fades(steps: Float[Tensor, " K"], overlap: int, width: int) -> Float[Tensor, " L"]:
    """Return a window that rises by sin(theta) over `overlap` samples, is 1, and falls by cos(theta) of the same angle.

    theta rises from 0 to pi/2 through 2 K pieces of slope softplus(steps), the second half mirroring the first, so the
    window is symmetric. sin^2 + cos^2 = 1: whatever the steps are, squares of shifts by width - overlap sum to 1.
    Computed in the widest float.

    Args:
        steps: any numbers; equal ones make theta a straight line.
        overlap: samples that neighbours share, at most width / 2.
        width: samples of the window.
    """
    half = F.softplus(steps.to(wide_dtype(steps.device)))
    slopes = torch.cat([half, half.flip(0)])
    slopes = slopes / slopes.sum()
    at = (torch.arange(overlap, device=steps.device, dtype=slopes.dtype) + 0.5) * (len(slopes) / overlap)
    piece = at.long()
    theta = math.pi / 2 * (F.pad(slopes.cumsum(0), (1, 0))[piece] + (at - piece) * slopes[piece])
    return torch.cat([theta.sin(), theta.new_ones(width - 2 * overlap), theta.cos()])
