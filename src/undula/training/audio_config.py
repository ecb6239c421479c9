"""A whole training run of an audio codec as plain data (no torch here: `--help` reads this)."""

from dataclasses import dataclass, field
from typing import Literal

from undula.data.config import AudioDataConfig
from undula.losses.config import SoundLossConfig
from undula.models.config import AudioCodecConfig
from undula.optim.config import OptimConfig
from undula.training.config import DeviceName

AUDIO_CODEC = "audio_codec"
"""What the configuration of such a run says in `task`; that of a language model has no such key."""


@dataclass(frozen=True, kw_only=True)
class AudioTrainConfig:
    """Everything that decides the run of an audio codec.

    Args:
        name: what the run is called.
        task: `audio_codec`.
        model: what is trained.
        data: what it is trained and scored on.
        optim: how.
        loss: what is made small.
        steps: updates of the parameters.
        batch_size: pieces of recordings in one step.
        seed: of start values, dropout and the choice of pieces.
        log_every: steps between two lines of metrics.
        eval_every: steps between two scores of the held-out recordings; the last step is always scored.
        save_every: steps between two checkpoints; the last step is always saved.
        keep_checkpoints: how many of the newest checkpoints stay.
        device: `auto` takes an accelerator where there is one.

    Raises:
        ValueError: for a value out of range.
    """

    name: str
    task: Literal["audio_codec"] = AUDIO_CODEC
    model: AudioCodecConfig = field(default_factory=AudioCodecConfig)
    data: AudioDataConfig = field(default_factory=AudioDataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: SoundLossConfig = field(default_factory=SoundLossConfig)
    steps: int = 2000
    batch_size: int = 16
    seed: int = 0
    log_every: int = 20
    eval_every: int = 500
    save_every: int = 500
    keep_checkpoints: int = 2
    device: DeviceName = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "log_every", "eval_every", "save_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; wanted at least 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed}; wanted 0 up to 2^32 - 1")
