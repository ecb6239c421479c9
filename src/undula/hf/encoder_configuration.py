"""Configurations of encoders as Hugging Face knows them, one for each sense; importing this file registers them."""

from collections.abc import Mapping
from typing import Any, TypeVar

from transformers import AutoConfig, PreTrainedConfig

from undula.config import from_dict, to_dict
from undula.models.config import ModelConfig
from undula.models.senses_config import AudioEncoderConfig, VisionEncoderConfig

C = TypeVar("C")


class UndulaEncoderConfig(PreTrainedConfig):
    """Configuration of an encoder of texts; the architecture stands in `model` alone, every default written out.

    Args:
        model: a `ModelConfig`, or the nested dictionary of one; what is not given keeps its default.
        pooling: "mean", "attention" or "first", from the features of tokens to one vector.
        target_mean, target_std: of regression: scores are multiplied by the latter, then the former is added.
        pad_token_id: fills batches of texts.

    Raises:
        ValueError: for an unknown key in `model` (names the nearest), or a value of the wrong type.
    """

    model_type = "undula_encoder"

    # The constructor that transformers generates takes more than its signature says; a checker of calls is misled.
    __no_type_check__ = True

    model: Any = None
    pooling: str = "mean"
    target_mean: float = 0.0
    target_std: float = 1.0
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.model = to_dict(_typed(ModelConfig, self.model))
        super().__post_init__(**kwargs)

    @property
    def model_config(self) -> ModelConfig:
        """The architecture as a typed, frozen configuration."""
        return _typed(ModelConfig, self.model)

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.model_config.vocab_size

    @property
    def hidden_size(self) -> int:
        """Width of the features."""
        return self.model_config.backbone.d_model


class UndulaVisionConfig(PreTrainedConfig):
    """Configuration of an encoder of images; the architecture stands in `model` alone, every default written out.

    Args:
        model: a `VisionEncoderConfig`, or the nested dictionary of one; what is not given keeps its default.
        pooling: "mean" or "attention", from the features of patches to one vector.
        image_mean, image_std: what is taken off pixels, and what they are then divided by, inside the model.
        target_mean, target_std: see `UndulaEncoderConfig`.

    Raises:
        ValueError: for an unknown key in `model` (names the nearest), or a value of the wrong type.
    """

    model_type = "undula_vision"

    __no_type_check__ = True

    model: Any = None
    pooling: str = "mean"
    image_mean: float = 0.5
    image_std: float = 0.5
    target_mean: float = 0.0
    target_std: float = 1.0

    def __post_init__(self, **kwargs: Any) -> None:
        self.model = to_dict(_typed(VisionEncoderConfig, self.model))
        super().__post_init__(**kwargs)

    @property
    def model_config(self) -> VisionEncoderConfig:
        """The architecture as a typed, frozen configuration."""
        return _typed(VisionEncoderConfig, self.model)

    @property
    def hidden_size(self) -> int:
        """Width of the features."""
        return self.model_config.backbone.d_model


class UndulaAudioEncoderConfig(PreTrainedConfig):
    """Configuration of an encoder of sound; the architecture stands in `model` alone, every default written out.

    Args:
        model: an `AudioEncoderConfig`, or the nested dictionary of one; what is not given keeps its default.
        pooling: "mean" or "attention", from the features of positions to one vector.
        target_mean, target_std: see `UndulaEncoderConfig`.

    Raises:
        ValueError: for an unknown key in `model` (names the nearest), or a value of the wrong type.
    """

    model_type = "undula_audio_encoder"

    __no_type_check__ = True

    model: Any = None
    pooling: str = "mean"
    target_mean: float = 0.0
    target_std: float = 1.0

    def __post_init__(self, **kwargs: Any) -> None:
        self.model = to_dict(_typed(AudioEncoderConfig, self.model))
        super().__post_init__(**kwargs)

    @property
    def model_config(self) -> AudioEncoderConfig:
        """The architecture as a typed, frozen configuration."""
        return _typed(AudioEncoderConfig, self.model)

    @property
    def hidden_size(self) -> int:
        """Width of the features."""
        return self.model_config.backbone.d_model

    @property
    def sampling_rate(self) -> int:
        """Samples per second."""
        return self.model_config.sample_rate


def _typed(kind: type[C], values: Any) -> C:
    if isinstance(values, kind):
        return values
    if values is not None and not isinstance(values, Mapping):
        raise ValueError(f"model: got {values!r}, wanted a {kind.__name__} or the dictionary of one")
    return from_dict(kind, values or {}, "model")


for _config in (UndulaEncoderConfig, UndulaVisionConfig, UndulaAudioEncoderConfig):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
