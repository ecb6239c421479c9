"""A whole training run of an audio codec as plain data (no torch here: `--help` reads this)."""

from dataclasses import dataclass, field
from typing import Literal

from undula.data.config import AudioDataConfig
from undula.losses.config import SoundLossConfig
from undula.models.config import AudioCodecConfig
from undula.training.config import RunConfig

AUDIO_CODEC = "audio_codec"
"""What the configuration of such a run says in `task`; that of a language model has no such key."""


@dataclass(frozen=True, kw_only=True)
class AudioTrainConfig(RunConfig):
    """Everything that decides the run of an audio codec; see `RunConfig` for the rest.

    Args:
        task: `audio_codec`.
        model: what is trained.
        data: what it is trained and scored on.
        loss: what is made small.

    Raises:
        ValueError: for a value out of range or an unknown name.
    """

    task: Literal["audio_codec"] = AUDIO_CODEC
    model: AudioCodecConfig = field(default_factory=AudioCodecConfig)
    data: AudioDataConfig = field(default_factory=AudioDataConfig)
    loss: SoundLossConfig = field(default_factory=SoundLossConfig)
    batch_size: int = 16
    log_every: int = 20
    eval_every: int = 500
