"""A whole training run of an encoder that tells classes, tags or numbers, as plain data (no torch here)."""

from dataclasses import dataclass, field
from typing import Literal

from undula.data.augment_config import AugmentConfig
from undula.data.labelled_config import LabelledDataConfig
from undula.models.config import ModelConfig
from undula.models.senses_config import AudioEncoderConfig, VisionEncoderConfig
from undula.training.config import RunConfig

RECOGNITION = "recognition"
"""What the configuration of such a run says in `task`; that of a language model has no such key."""

MODELS = {"text": ModelConfig, "image": VisionEncoderConfig, "sound": AudioEncoderConfig}
"""The encoder of each kind of data."""


@dataclass(frozen=True, kw_only=True)
class RecognitionTrainConfig(RunConfig):
    """Everything that decides the run of an encoder with a head; see `RunConfig` for the rest.

    Args:
        task: `recognition`.
        model: the encoder of texts, images or recordings; its vocab_size, channels or sample_rate are taken from the
            data when the run starts.
        pooling: `mean`, `attention` or `first` (of texts alone), from all features to one vector; tags need none.
        data: what it is trained and scored on.
        augment: how inputs are changed in training.
        label_smoothing: share of each label that is spread over all classes.
        eval_batch_size: held-out inputs in one forward pass.

    Raises:
        ValueError: for a value out of range, an unknown name, or a model of another kind than the data.
    """

    task: Literal["recognition"] = RECOGNITION
    model: ModelConfig | VisionEncoderConfig | AudioEncoderConfig = field(default_factory=ModelConfig)
    pooling: str = "mean"
    data: LabelledDataConfig = field(default_factory=LabelledDataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    label_smoothing: float = 0.0
    batch_size: int = 64
    log_every: int = 20
    eval_batch_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = MODELS[self.data.kind]
        if not isinstance(self.model, wanted):
            raise ValueError(
                f"model is a {type(self.model).__name__}, data.kind is {self.data.kind!r}; wanted a {wanted.__name__}"
            )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing}; wanted a share from 0 to below 1")
        if self.label_smoothing and self.data.target == "number":
            raise ValueError(f"label_smoothing={self.label_smoothing} with data.target='number', which has no classes")
        if self.eval_batch_size < 1:
            raise ValueError(f"eval_batch_size={self.eval_batch_size}; wanted at least 1")
        self.augment.check(self.data.kind)
        longest = self.model.context_length if isinstance(self.model, ModelConfig) else None
        if longest is not None and longest < self.data.max_tokens:
            raise ValueError(
                f"model.context_length={longest} is less than data.max_tokens={self.data.max_tokens}; raise the one or "
                "lower the other"
            )
