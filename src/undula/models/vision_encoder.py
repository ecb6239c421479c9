"""From images and films to features: patches on a grid of any size, and their frames in time."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from undula.models.backbone import Backbone
from undula.models.init import initialise
from undula.models.senses_config import VideoEncoderConfig, VisionEncoderConfig
from undula.models.spectral_config import SpectralConfig
from undula.nn.pooling import build_pooling
from undula.ops.half_waves import Grid, unit
from undula.ops.phase import wide_dtype
from undula.shapes import PaddingMask, Sequence

Images = Float[Tensor, "B channels height width"]


class SpectralVisionEncoder(nn.Module):
    """Features (B, P, D) of the patches of images, row by row: backbone(from_patch(pixels) + from_place(coordinates)).

    Images of any size and shape may come, whatever the size of those in training: coordinates and waves count in the
    side of a square of the image's area. An image whose sides are no multiples of the patch is continued to the right
    and below by its last column and row, so there are ceil(height / patch) x ceil(width / patch) patches; `grid` says
    how many. Values should be around 0, with a spread around 1.

    Args:
        config: the encoder, as documented (modality="vision") or as plain data.

    Raises:
        ValueError: for another modality, a number out of range, or as `Backbone` does.

    Attributes: backbone, d_model.

    Source: Spectral Neural Networks; Dosovitskiy et al., arXiv 2010.11929 (patches); Tancik et al., arXiv 2006.10739
    (coordinates).
    """

    def __init__(self, config: SpectralConfig | VisionEncoderConfig) -> None:
        super().__init__()
        plan = config.vision() if isinstance(config, SpectralConfig) else config
        for name in ("channels", "patch_size", "position_octaves"):
            if getattr(plan, name) < 1:
                raise ValueError(f"{name}={getattr(plan, name)}; wanted at least 1")
        self.channels, self.patch, self.octaves = plan.channels, plan.patch_size, plan.position_octaves
        self.d_model = plan.backbone.d_model
        self.from_patch = nn.Linear(self.channels * self.patch**2, self.d_model)
        self.from_place = nn.Linear(4 * self.octaves, self.d_model, bias=False)
        self.backbone = Backbone(plan.backbone)
        initialise(self, plan.backbone.num_layers)

    def forward(self, images: Images) -> Sequence:
        """Return the features of every patch.

        Raises:
            ValueError: for another number of channels, or an image smaller than a patch.
        """
        grid = self.grid(*images.shape[2:])
        if images.shape[1] != self.channels:
            raise ValueError(
                f"got images of {images.shape[1]} channels, wanted {self.channels}: (batch, channels, height, width)"
            )
        cells = rearrange(_filled(images, grid, self.patch), "b c (r p) (s q) -> b (r s) (c p q)", r=grid[0], s=grid[1])
        x = self.from_patch(cells) + self.from_place(self._places(grid, cells))
        return self.backbone(x, False, grid=grid)

    def grid(self, height: int, width: int) -> Grid:
        """Return how many rows and columns of patches an image of so many pixels has.

        Raises:
            ValueError: for an image smaller than a patch.
        """
        if min(height, width) < self.patch:
            raise ValueError(
                f"got an image of {height} x {width} pixels, smaller than a patch of patch_size={self.patch}; enlarge "
                "it, or build the encoder with smaller patches"
            )
        return -(-height // self.patch), -(-width // self.patch)

    def _places(self, grid: Grid, like: Tensor) -> Float[Tensor, "P features"]:
        """Sines and cosines of both coordinates, in octaves."""
        wide = wide_dtype(like.device)
        octaves = math.pi * 2 ** torch.arange(self.octaves, device=like.device, dtype=wide)
        waves = []
        for size in grid:
            middle = (torch.arange(size, device=like.device, dtype=wide) + 0.5 - size / 2) / unit(grid)
            angle = middle[:, None] * octaves
            waves.append(torch.cat([angle.sin(), angle.cos()], 1))
        down, across = waves[0][:, None].expand(*grid, -1), waves[1].expand(*grid, -1)
        return torch.cat([down, across], 2).flatten(0, 1).to(like.dtype)


class SpectralVideoEncoder(nn.Module):
    """Features (B, T, D) of the frames of films: each frame's patches encoded and pooled, then blocks over time.

    Args:
        config: the encoder, as documented (modality="video") or as plain data.

    Raises:
        ValueError: as `SpectralVisionEncoder` does, or where frames and time have not one width.

    Attributes: frames, the encoder of images; pooling; backbone, over time; d_model.
    """

    def __init__(self, config: SpectralConfig | VideoEncoderConfig) -> None:
        super().__init__()
        plan = config.video() if isinstance(config, SpectralConfig) else config
        widths = plan.frames.backbone.d_model, plan.backbone.d_model
        if widths[0] != widths[1]:
            raise ValueError(f"frames.backbone.d_model={widths[0]}, backbone.d_model={widths[1]}; wanted one width")
        self.d_model = widths[0]
        self.frames = SpectralVisionEncoder(plan.frames)
        self.pooling = build_pooling(plan.pooling, self.d_model)
        self.backbone = Backbone(plan.backbone)
        initialise(self.backbone, plan.backbone.num_layers)

    def forward(
        self, video: Float[Tensor, "B T channels height width"], attention_mask: PaddingMask | None = None
    ) -> Sequence:
        """Return the features of every frame; each one depends on all frames.

        Args:
            video: frames of one size.
            attention_mask: 1 = real frame, where films of unequal length are padded.

        Raises:
            ValueError: as `SpectralVisionEncoder.forward` does.
        """
        if attention_mask is not None:
            video = torch.where(attention_mask.bool()[:, :, None, None, None], video, 0.0)
        vectors = self.pooling(self.frames(video.flatten(0, 1)))
        return self.backbone(vectors.unflatten(0, video.shape[:2]), False, attention_mask)


def _filled(images: Images, grid: Grid, patch: int) -> Float[Tensor, "B channels whole_height whole_width"]:
    """Images with whole patches: the last row and column again and again, as far as is needed."""
    for axis, cells in zip((2, 3), grid, strict=True):
        size = images.shape[axis]
        if size % patch:
            index = torch.arange(cells * patch, device=images.device).clamp_max(size - 1)
            images = images.index_select(axis, index)
    return images
