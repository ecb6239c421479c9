"""Encoders of images and sound as Hugging Face knows them; importing this file registers them."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    Wav2Vec2FeatureExtractor,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput, SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from undula.hf.encoder_configuration import UndulaAudioEncoderConfig, UndulaVisionConfig
from undula.hf.loading import WholeModel
from undula.hf.processors import UndulaImageProcessor
from undula.hf.told import outputs_of, scaled, told_loss
from undula.models.recogniser import SpectralAudioClassifier, SpectralImageClassifier
from undula.models.sound_encoder import SpectralAudioEncoder
from undula.models.vision_encoder import SpectralVisionEncoder
from undula.nn.pooling import build_pooling

Images = Float[Tensor, "B C H W"]


class UndulaVisionModel(WholeModel):
    """An encoder of images: features of each patch, row by row, and one vector for each image."""

    config_class = UndulaVisionConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"

    def __init__(self, config: UndulaVisionConfig) -> None:
        super().__init__(config)
        self.encoder = SpectralVisionEncoder(config.model_config)
        self.pooling = build_pooling(config.pooling, config.hidden_size)
        self.post_init()

    @can_return_tuple
    def forward(self, pixel_values: Images) -> BaseModelOutputWithPooling:
        """Return the features (B, P, D) and their pooling (B, D).

        Args:
            pixel_values: between 0 and 1; `image_mean` and `image_std` of the configuration are applied here.
        """
        features = self.encoder(_levelled(pixel_values, self.config))
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=self.pooling(features))


class UndulaForImageClassification(WholeModel):
    """What is told of an image: one class, several labels, or numbers, as `problem_type` says."""

    config_class = UndulaVisionConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    accepts_loss_kwargs = False

    def __init__(self, config: UndulaVisionConfig) -> None:
        super().__init__(config)
        self.model = SpectralImageClassifier(config.model_config, outputs_of(config), config.pooling)
        self.post_init()

    @can_return_tuple
    def forward(self, pixel_values: Images, labels: Tensor | None = None) -> ImageClassifierOutput:
        """Return scores (B, labels), and the loss where labels are given.

        Args:
            pixel_values: between 0 and 1; `image_mean` and `image_std` of the configuration are applied here.
            labels: see `told_loss`.
        """
        logits = scaled(self.model(_levelled(pixel_values, self.config)), self.config)
        return ImageClassifierOutput(
            loss=None if labels is None else told_loss(logits, labels, self.config), logits=logits
        )


class UndulaAudioEncoderModel(WholeModel):
    """An encoder of sound: features of each position, and one vector for each recording."""

    config_class = UndulaAudioEncoderConfig
    base_model_prefix = "model"
    main_input_name = "input_values"

    def __init__(self, config: UndulaAudioEncoderConfig) -> None:
        super().__init__(config)
        self.encoder = SpectralAudioEncoder(config.model_config)
        self.pooling = build_pooling(config.pooling, config.hidden_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Float[Tensor, "B L"] | None = None,
        attention_mask: Int[Tensor, "B L"] | None = None,
        input_features: Float[Tensor, "B M T"] | None = None,
    ) -> BaseModelOutputWithPooling:
        """Return the features (B, P, D) and their pooling (B, D); arguments as in `UndulaForAudioClassification`."""
        lengths = lengths_of(attention_mask)
        features, real = self.encoder(waveform=input_values, mel=input_features, lengths=lengths)
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=self.pooling(features, real))


class UndulaForAudioClassification(WholeModel):
    """What is told of a recording: one class, several labels, or numbers, as `problem_type` says."""

    config_class = UndulaAudioEncoderConfig
    base_model_prefix = "model"
    main_input_name = "input_values"
    accepts_loss_kwargs = False

    def __init__(self, config: UndulaAudioEncoderConfig) -> None:
        super().__init__(config)
        self.model = SpectralAudioClassifier(config.model_config, outputs_of(config), config.pooling)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: Float[Tensor, "B L"] | None = None,
        attention_mask: Int[Tensor, "B L"] | None = None,
        input_features: Float[Tensor, "B M T"] | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Return scores (B, labels), and the loss where labels are given.

        Args:
            input_values: samples between -1 and 1.
            attention_mask: 1 = real sample, or frame of the features; padding on the right. None: all are real.
            input_features: mel spectrograms in place of samples, as `undula.ops.mel.log_mel` makes them.
            labels: see `told_loss`.

        Raises:
            ValueError: for neither or both of samples and spectrograms, or padding on the left.
        """
        scores = self.model(waveform=input_values, mel=input_features, lengths=lengths_of(attention_mask))
        logits = scaled(scores, self.config)
        return SequenceClassifierOutput(
            loss=None if labels is None else told_loss(logits, labels, self.config), logits=logits
        )


def lengths_of(mask: Int[Tensor, "B L"] | None) -> Int[Tensor, " B"] | None:
    """Return how many samples of each row are real.

    Raises:
        ValueError: when padding stands before a real sample.
    """
    if mask is None:
        return None
    real = mask.bool()
    # A compiled graph must not depend on the values.
    if not torch.compiler.is_compiling() and bool((real[:, 1:] & ~real[:, :-1]).any()):
        raise ValueError("attention_mask has padding before real samples; pad recordings on the right")
    return real.sum(1)


def _levelled(pixels: Images, config: Any) -> Images:
    return (pixels - config.image_mean) / config.image_std


AutoModel.register(UndulaVisionConfig, UndulaVisionModel, exist_ok=True)
AutoModelForImageClassification.register(UndulaVisionConfig, UndulaForImageClassification, exist_ok=True)
AutoImageProcessor.register(UndulaVisionConfig, slow_image_processor_class=UndulaImageProcessor, exist_ok=True)
AutoModel.register(UndulaAudioEncoderConfig, UndulaAudioEncoderModel, exist_ok=True)
AutoModelForAudioClassification.register(UndulaAudioEncoderConfig, UndulaForAudioClassification, exist_ok=True)
AutoFeatureExtractor.register(UndulaAudioEncoderConfig, Wav2Vec2FeatureExtractor, exist_ok=True)
