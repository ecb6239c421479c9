"""The kinds of run there are, by what their configuration says in `task` (no torch here: `--help` reads this)."""

from dataclasses import dataclass

from undula.training.audio_config import AUDIO_CODEC, AudioTrainConfig
from undula.training.config import RunConfig, TrainConfig
from undula.training.recognition_config import RECOGNITION, RecognitionTrainConfig
from undula.training.translation_config import TRANSLATION, TranslationTrainConfig

LANGUAGE_MODEL = "language_model"
"""The kind of a run whose configuration has no key `task`."""


@dataclass(frozen=True)
class RunKind:
    """What a run trains.

    Args:
        what: in words.
        config: the class of its configuration.
    """

    what: str
    config: type[RunConfig]


KINDS = {
    LANGUAGE_MODEL: RunKind("a language model", TrainConfig),
    AUDIO_CODEC: RunKind("an audio codec", AudioTrainConfig),
    TRANSLATION: RunKind("a translator", TranslationTrainConfig),
    RECOGNITION: RunKind("a recogniser", RecognitionTrainConfig),
}


def task_of(config: RunConfig) -> str:
    """Return what kind of run a configuration describes."""
    return getattr(config, "task", LANGUAGE_MODEL)
