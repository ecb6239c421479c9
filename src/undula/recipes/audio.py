"""The recipes for sound."""

from collections.abc import Callable

from undula.data.config import AudioDataConfig
from undula.models.config import AudioCodecConfig
from undula.names import Registry
from undula.optim.config import OptimConfig
from undula.training.audio_config import AudioTrainConfig

AudioRecipe = Callable[[], AudioTrainConfig]

AUDIO_RECIPES: Registry[AudioRecipe] = Registry("recipe for sound")


@AUDIO_RECIPES.register("audio_codec")
def audio_codec() -> AudioTrainConfig:
    """A codec of 8 kHz sound whose waves hold one number for each sample: 32 harmonics for every 96 samples."""
    return _codec("audio_codec", AudioCodecConfig(num_harmonics=32, hop_length=96, freq_range=(20.0, 3000.0)))


@AUDIO_RECIPES.register("audio_codec_half")
def audio_codec_half() -> AudioTrainConfig:
    """The same with half a number for each sample: 16 harmonics, none above 1.6 kHz."""
    return _codec("audio_codec_half", AudioCodecConfig(num_harmonics=16, hop_length=96, freq_range=(20.0, 1600.0)))


def _codec(name: str, model: AudioCodecConfig) -> AudioTrainConfig:
    return AudioTrainConfig(
        name=name,
        model=model,
        data=AudioDataConfig(source="tones", crop_length=4000),
        optim=OptimConfig(learning_rate=2e-3, min_learning_rate=1e-4, warmup_steps=50, weight_decay=0.01),
        steps=1000,
        batch_size=16,
    )
