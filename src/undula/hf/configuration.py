"""`UndulaConfig`: our one model configuration inside a Hugging Face one; importing this file registers it."""

from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from undula.config import from_dict, to_dict
from undula.models.config import ModelConfig

MODEL_TYPE = "undula"

DERIVED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
"""What transformers asks a configuration for, read from `model`; nothing sets it."""


class UndulaConfig(PreTrainedConfig):
    """Configuration of a causal language model as Hugging Face knows it.

    The architecture stands in `model` alone, every default written out, so that a saved folder means the same model
    whatever later defaults are. Sizes that transformers asks for are read from it.

    Args:
        model: a `ModelConfig`, or the nested dictionary of one; what is not given keeps its default.
        pad_token_id, bos_token_id, eos_token_id: special ids, as `generate` uses them.

    Raises:
        ValueError: for an unknown key in `model` (names the nearest), a value of the wrong type, or an attempt to set
            what is derived.
    """

    model_type = MODEL_TYPE
    keys_to_ignore_at_inference = ["past_key_values"]

    # The constructor that transformers generates takes more than its signature says; a checker of calls is misled.
    __no_type_check__ = True

    model: Any = None
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.model = to_dict(_model_config({} if self.model is None else self.model))
        super().__post_init__(**kwargs)

    def __setattr__(self, key: str, value: Any) -> None:
        if key in DERIVED:
            raise ValueError(f"{key}={value!r}: {key} follows from the field `model`; change it there")
        super().__setattr__(key, value)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Return the configuration that `config.json` holds.

        Raises:
            ValueError: when it says nothing of the model, or what it says is wrong.
        """
        if "model" not in config_dict:
            found = ", ".join(sorted(key for key in config_dict if not key.startswith("_")))
            raise ValueError(f"config.json has no key 'model', only {found}; it is damaged")
        return super().from_dict(config_dict, **kwargs)

    @property
    def model_config(self) -> ModelConfig:
        """The architecture as a typed, frozen configuration."""
        return _model_config(self.model)

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.model_config.vocab_size

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return self.model_config.backbone.d_model

    @property
    def num_hidden_layers(self) -> int:
        """Number of blocks."""
        return self.model_config.backbone.num_layers

    @property
    def num_attention_heads(self) -> int:
        """Number of heads of each block."""
        return self.model_config.backbone.num_heads

    @property
    def max_position_embeddings(self) -> int:
        """Longest sequence in tokens; not there where nothing limits it, which is what other libraries look for."""
        longest = self.model_config.context_length
        if longest is None:
            raise AttributeError("max_position_embeddings: the model has no context_length, so no limit")
        return longest


def _model_config(values: Any) -> ModelConfig:
    if isinstance(values, ModelConfig):
        return values
    if not isinstance(values, Mapping):
        raise ValueError(f"model: got {values!r}, wanted a ModelConfig or the dictionary of one")
    return from_dict(ModelConfig, values, "model")


AutoConfig.register(MODEL_TYPE, UndulaConfig, exist_ok=True)
