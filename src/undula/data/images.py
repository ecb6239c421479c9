"""Images and their labels: from folders, arrays, tables, and the embedded handwritten digits."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from undula.data.example import Example, Found
from undula.data.labelled_config import LabelledDataConfig
from undula.data.labelled_files import labelled_files, labelled_rows, target_of
from undula.data.tables import is_table
from undula.optional import late_import

DIGITS = "digits"
"""The embedded source: 1797 handwritten digits of 8 x 8 pixels, those that scikit-learn ships, in its order."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")

MODES = {"1": 1, "L": 1, "RGB": 3}
"""Channels by what Pillow calls the kind of an image; others have to be converted, see `channels`."""


def load_images(config: LabelledDataConfig) -> Found:
    """Return the images of a source with their labels, all of one size and number of channels.

    Raises:
        FileNotFoundError: when there is no such file.
        ImportError: for `digits`, without scikit-learn.
        ValueError: for an image that cannot be read, sizes or channels that differ, or a class without images.
    """
    if config.source == DIGITS:
        found = Found(list(_digits()))
    elif Path(config.source).suffix == ".npz":
        found = Found(list(_arrays(Path(config.source).expanduser(), config)))
    elif is_table(config.source):
        found = labelled_rows(config, lambda v, label, at: (_decoded(v, config, at), target_of(label, config, at)))
    else:
        paths = labelled_files(config, SUFFIXES)
        found = Found([Example(name, read_image(path, config), label) for name, path, label in paths])
    _check_alike([*found.train, *(found.test or ())])
    return found


def read_image(path: Path, config: LabelledDataConfig) -> Float[Tensor, "C H W"]:
    """Return an image between 0 and 1, brought to the size and channels that are asked for.

    Raises:
        ValueError: when it cannot be read, or has a kind of pixels that is neither grey nor red, green and blue.
    """
    return _opened(path, config, str(path))


def _opened(file: Any, config: LabelledDataConfig, where: str) -> Float[Tensor, "C H W"]:
    try:
        with Image.open(file) as image:
            return pixels_of(image, config.channels, config.image_size, where)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{where} cannot be read as an image: {error}; repair it or leave it out") from error


def _decoded(value: Any, config: LabelledDataConfig, where: str) -> Float[Tensor, "C H W"]:
    """An image as tables hold them: ready, its bytes, its path, or nested lists of numbers."""
    if isinstance(value, Image.Image):
        return pixels_of(value, config.channels, config.image_size, where)
    if isinstance(value, dict) and value.get("bytes"):
        return _opened(io.BytesIO(value["bytes"]), config, where)
    if isinstance(value, str):
        return _opened(value, config, where)
    if isinstance(value, list):
        image = Image.fromarray(np.asarray(value, np.uint8))
        return pixels_of(image, config.channels, config.image_size, where)
    raise ValueError(f"{where}: got a {type(value).__name__}; wanted an image, its path, or rows of bytes")


def pixels_of(image: Image.Image, channels: int | None, size: int | None, where: str) -> Float[Tensor, "C H W"]:
    """Return an image between 0 and 1.

    Args:
        image: grey, or red, green and blue; other kinds where `channels` says what they become.
        channels: 1 or 3; None: as it is.
        size: height and width that it is brought to; None: as it is.
        where: what errors call it.

    Raises:
        ValueError: when it has another kind of pixels and nothing is said.
    """
    if channels is not None:
        image = image.convert("L" if channels == 1 else "RGB")
    if image.mode not in MODES:
        raise ValueError(
            f"{where} has pixels of the kind {image.mode}; wanted grey (L) or red, green and blue (RGB): convert it, "
            "or say data.channels=1 or 3"
        )
    if size is not None:
        image = image.convert("L" if image.mode == "1" else image.mode).resize((size, size), Image.Resampling.BILINEAR)
    values = np.array(image, dtype=np.float32)
    scale = 1.0 if image.mode == "1" else 255.0
    return torch.from_numpy(values / scale).reshape(*values.shape[:2], -1).permute(2, 0, 1).contiguous()


def _digits() -> Iterator[Example]:
    found = late_import("sklearn.datasets").load_digits()
    for number, (image, label) in enumerate(zip(found.images, found.target, strict=True)):
        yield Example(f"digit {number}", torch.from_numpy(image).float()[None] / 16, str(label))


def _arrays(path: Path, config: LabelledDataConfig) -> Iterator[Example]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; give an .npz file with arrays `images` and `labels`")
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read ({error}); wanted arrays `images` and `labels`, no objects") from error
    if images.ndim not in (3, 4) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{path}: images {images.shape} and labels {labels.shape}; wanted (N, H, W) or (N, H, W, channels) and (N,)"
        )
    if images.dtype != np.uint8 and not (images.dtype.kind == "f" and 0 <= images.min() <= images.max() <= 1):
        raise ValueError(f"{path}: images of {images.dtype}; wanted bytes (uint8), or floats between 0 and 1")
    whole = images if images.dtype == np.uint8 else np.round(images * 255).astype(np.uint8)
    exact = config.channels is None and config.image_size is None
    for number, (image, label) in enumerate(zip(images if exact else whole, labels.tolist(), strict=True)):
        where = f"{path.name} {number}"
        flat = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
        if flat.ndim == 3 and flat.shape[-1] != 3:
            raise ValueError(f"{path}: images of {flat.shape[-1]} channels; wanted 1 or 3, as the last axis")
        if exact:
            values = flat.astype(np.float32) / (255 if images.dtype == np.uint8 else 1)
            pixels = torch.from_numpy(values).reshape(*flat.shape[:2], -1).permute(2, 0, 1).contiguous()
        else:
            pixels = pixels_of(Image.fromarray(flat), config.channels, config.image_size, where)
        yield Example(where, pixels, target_of(label, config, where))


def _check_alike(examples: list[Example]) -> None:
    first = examples[0]
    wanted = tuple(first.content.shape)  # pyright: ignore[reportAttributeAccessIssue]
    for example in examples:
        shape = tuple(example.content.shape)  # pyright: ignore[reportAttributeAccessIssue]
        if shape[0] != wanted[0]:
            raise ValueError(
                f"{first.name} has {wanted[0]} channels, {example.name} has {shape[0]}; say data.channels=1 or 3 to "
                "bring all to so many"
            )
        if shape != wanted:
            sizes = [f"{one.name} is {h} x {w}" for one, (_, h, w) in ((first, wanted), (example, shape))]
            raise ValueError(f"{', '.join(sizes)} pixels; say data.image_size=N to bring all to N x N")
