"""An audio codec as Hugging Face knows it; importing this file registers it."""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from undula.config import from_dict, to_dict
from undula.hf.loading import WholeModel
from undula.models.audio_codec import AudioCodec
from undula.models.config import AudioCodecConfig


class UndulaAudioConfig(PreTrainedConfig):
    """Configuration of an audio codec: all sizes stand in `model`, every default written out.

    Args:
        model: the nested dictionary of an `AudioCodecConfig`; what is not given keeps its default.

    Raises:
        ValueError: for an unknown key in `model` (names the nearest), or a value of the wrong type.
    """

    model_type = "undula_audio"

    # The constructor that transformers generates takes more than its signature says; a checker of calls is misled.
    __no_type_check__ = True

    model: Any = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.model = to_dict(from_dict(AudioCodecConfig, self.model or {}, "model"))
        super().__post_init__(**kwargs)


class UndulaAudioCodec(WholeModel):
    """An audio codec with transformers' interface: Trainer, `save_pretrained`, `from_pretrained`; itself in `codec`."""

    config_class = UndulaAudioConfig
    base_model_prefix = "codec"
    main_input_name = "audio"
    accepts_loss_kwargs = False

    def __init__(self, config: UndulaAudioConfig) -> None:
        super().__init__(config)
        self.codec = AudioCodec(from_dict(AudioCodecConfig, config.model, "model"))
        self.post_init()

    def forward(self, audio: Float[Tensor, "B L"], lengths: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B L"]:
        """Return the reconstruction of sounds, of which `lengths` samples are real (None: all); see `AudioCodec`."""
        return self.codec(audio, lengths)


AutoConfig.register(UndulaAudioConfig.model_type, UndulaAudioConfig, exist_ok=True)
AutoModel.register(UndulaAudioConfig, UndulaAudioCodec, exist_ok=True)
