"""What makes inputs of images and recordings, saved beside a model for pipelines."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import BaseImageProcessor, BatchFeature, Wav2Vec2FeatureExtractor

from undula.data.images import pixels_of


class UndulaImageProcessor(BaseImageProcessor):
    """Images as training made them: between 0 and 1, of the channels and size that the model knows.

    Args:
        channels: 1 (grey) or 3 (red, green and blue).
        image_size: height and width that images are brought to; None: they stay as they are.
    """

    model_input_names = ("pixel_values",)

    # Transformers hands over the name of the class, too, as it stands in preprocessor_config.json.
    def __init__(self, channels: int = 3, image_size: int | None = None, image_processor_type: str = "") -> None:
        super().__init__()
        self.channels, self.image_size = channels, image_size

    def __call__(self, images: Any, return_tensors: str | None = "pt") -> BatchFeature:
        """Return `pixel_values` (B, C, H, W).

        Args:
            images: one or several: of Pillow, or arrays or tensors of bytes (H, W) or (H, W, 3).
            return_tensors: "pt" or "np".

        Raises:
            ValueError: when they have different sizes and none is given, or an array is no image.
        """
        several = list(images) if isinstance(images, Sequence) else [images]
        made = [
            pixels_of(_pillow(image), self.channels, self.image_size, f"image {i}") for i, image in enumerate(several)
        ]
        return BatchFeature({"pixel_values": _alike(made)}, tensor_type=return_tensors)


def sound_processor(sample_rate: int) -> Wav2Vec2FeatureExtractor:
    """Return what pads samples as they are and says which are real.

    Args:
        sample_rate: samples per second that the model knows; others are refused.
    """
    return Wav2Vec2FeatureExtractor(
        sampling_rate=sample_rate, padding_value=0.0, do_normalize=False, return_attention_mask=True
    )


def _pillow(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    values = np.asarray(image)
    if values.dtype != np.uint8 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] != 3):
        raise ValueError(
            f"got {values.dtype} of shape {values.shape}; wanted bytes (uint8) of shape (H, W) or (H, W, 3)"
        )
    return Image.fromarray(values)


def _alike(made: list[Float[Tensor, "C H W"]]) -> Float[Tensor, "B C H W"]:
    sizes = sorted({tuple(image.shape[1:]) for image in made})
    if len(sizes) != 1:
        raise ValueError(f"images of sizes {sizes}; give images of one size, or a processor with image_size=")
    return torch.stack(made)
