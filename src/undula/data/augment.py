"""Inputs changed a little, as a generator says: images moved, recordings delayed, spectrograms with gaps."""

import hashlib
import math
import struct

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from undula.data.augment_config import AugmentConfig


def generator_of(*numbers: int) -> torch.Generator:
    """Return a generator whose numbers depend on the given ones alone."""
    digest = hashlib.blake2b(struct.pack(f"<{len(numbers)}q", *numbers), digest_size=8).digest()
    return torch.Generator().manual_seed(struct.unpack("<q", digest)[0])


def moved(image: Float[Tensor, "C H W"], config: AugmentConfig, draw: torch.Generator) -> Float[Tensor, "C H W"]:
    """Return an image shifted, rotated and zoomed about its middle; outside of it is black."""
    if not (config.shift or config.rotation or config.zoom):
        return image
    down, across, turn, zoom = (2 * torch.rand(4, generator=draw) - 1).tolist()
    height, width = image.shape[1:]
    angle, size = math.radians(turn * config.rotation), 1 + zoom * config.zoom
    cos, sin = math.cos(angle) / size, math.sin(angle) / size
    # Coordinates run from -1 to 1 on both axes, whatever the sides: a rotation has to know the pixels.
    matrix = torch.tensor(
        [
            [cos, sin * height / width, 2 * across * config.shift / width],
            [-sin * width / height, cos, 2 * down * config.shift / height],
        ]
    )
    grid = F.affine_grid(matrix[None], [1, *image.shape], align_corners=False)
    return F.grid_sample(image[None], grid, align_corners=False)[0]


def disturbed(samples: Float[Tensor, " L"], config: AugmentConfig, draw: torch.Generator) -> Float[Tensor, " longer"]:
    """Return a recording at another speed, sooner or later, louder or softer, with noise.

    Args:
        samples: of the recording.
        config: the limits; `delay` counts in samples here, see `in_samples`.
        draw: says how much of each.
    """
    speed, delay, gain, noise = (2 * torch.rand(4, generator=draw) - 1).tolist()
    if config.speed:
        size = max(1, round(len(samples) / (1 + speed * config.speed)))
        samples = F.interpolate(samples[None, None], size=size, mode="linear", align_corners=False)[0, 0]
    if config.delay:
        late = max(round(delay * config.delay), 1 - len(samples))
        samples = F.pad(samples, (late, 0))
    if config.noise:
        size = (noise + 1) / 2 * config.noise * samples.square().mean().sqrt()
        samples = samples + size * torch.randn(len(samples), generator=draw)
    return samples * 10 ** (gain * config.gain / 20) if config.gain else samples


def with_gaps(
    mel: Float[Tensor, "B M T"], lengths: Int[Tensor, " B"], shares: Float[Tensor, "B 4"], config: AugmentConfig
) -> Float[Tensor, "B M T"]:
    """Return spectrograms in which some bands and some frames in a row have the mean of the whole.

    Args:
        mel: logarithms of powers.
        lengths: frames of each row that are real.
        shares: for each row, between 0 and 1: width and place of the gap of bands, and of that of frames.
        config: the widest gaps, `mask_mels` and `mask_frames`.

    Source: Park et al., "SpecAugment", arXiv 1904.08779.
    """
    bands, frames = torch.arange(mel.shape[1]), torch.arange(mel.shape[2])
    real = frames < lengths[:, None]
    mean = torch.where(real[:, None], mel, 0.0).sum((1, 2)) / (lengths.clamp_min(1) * mel.shape[1])
    rows = torch.full_like(lengths, mel.shape[1])
    gap = _gap(bands, rows, shares[:, :2], config.mask_mels)[:, :, None]
    gap = gap | _gap(frames, lengths, shares[:, 2:], config.mask_frames)[:, None]
    return torch.where(gap, mean[:, None, None], mel)


def _gap(places: Tensor, sizes: Tensor, shares: Tensor, most: float) -> Tensor:
    width = shares[:, 0] * most * sizes
    start = (shares[:, 1] * (sizes - width))[:, None]
    return (places >= start) & (places < start + width[:, None].floor())
