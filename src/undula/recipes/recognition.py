"""The recipes for encoders that tell classes, tags and numbers, each beside attention of equal size.

Twins differ in their mixer and in the width of the feed-forwards, which makes up for the difference in parameters.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from undula.data.augment_config import AugmentConfig
from undula.data.labelled_config import LabelledDataConfig
from undula.models.config import BackboneConfig, ModelConfig
from undula.models.senses_config import AudioEncoderConfig, VisionEncoderConfig
from undula.names import Registry
from undula.optim.config import OptimConfig
from undula.recipes.baseline import TUNED
from undula.training.recognition_config import RecognitionTrainConfig

RecognitionRecipe = Callable[[], RecognitionTrainConfig]

RECOGNITION_RECIPES: Registry[RecognitionRecipe] = Registry("recipe for recognition")


@RECOGNITION_RECIPES.register("digits")
def digits() -> RecognitionTrainConfig:
    """Handwritten digits of 8 x 8 pixels by filters over the grid of pixels; the last half of them is held out."""
    return _digits("digits", "grid_filter", d_ff=128, modes=8)


@RECOGNITION_RECIPES.register("digits_attention")
def digits_attention() -> RecognitionTrainConfig:
    """The baseline of equal size: attention among all pixels, behind the same local filter."""
    return _digits("digits_attention", "grid_attention", d_ff=216, qk_norm=True)


@RECOGNITION_RECIPES.register("spoken_digits")
def spoken_digits() -> RecognitionTrainConfig:
    """Spoken digits (FSDD) by spectral filters over time; recordings 45 to 49 of each speaker are held out."""
    return _spoken("spoken_digits", "spectral_gate", d_ff=256)


@RECOGNITION_RECIPES.register("spoken_digits_attention")
def spoken_digits_attention() -> RecognitionTrainConfig:
    """The baseline of equal size: attention over time."""
    return _spoken("spoken_digits_attention", "attention", d_ff=272, **TUNED)


@RECOGNITION_RECIPES.register("topics")
def topics() -> RecognitionTrainConfig:
    """What a passage of Python's reference is about: statements, expressions or types; whole topics are held out."""
    return _text("topics", "spectral_gate", d_ff=192)


@RECOGNITION_RECIPES.register("topics_attention")
def topics_attention() -> RecognitionTrainConfig:
    """The baseline of equal size: attention among all tokens."""
    return _text("topics_attention", "attention", d_ff=208, **TUNED)


@RECOGNITION_RECIPES.register("code_words")
def code_words() -> RecognitionTrainConfig:
    """Which words of a passage Python's reference puts in quotation marks, as code; the marks are taken out."""
    config = _text("code_words", "spectral_gate", d_ff=192)
    return replace(config, data=replace(config.data, source="code", target="tags", max_tokens=160))


@RECOGNITION_RECIPES.register("word_length")
def word_length() -> RecognitionTrainConfig:
    """How long the words of a passage of Python's reference are on average, whose spaces are taken out."""
    config = _text("word_length", "spectral_gate", d_ff=192)
    data = replace(config.data, source="words", target="number", tokenizer="byte")
    return replace(config, data=data, label_smoothing=0.0)


def _digits(name: str, mixer: str, d_ff: int, **options: Any) -> RecognitionTrainConfig:
    return RecognitionTrainConfig(
        name=name,
        model=VisionEncoderConfig(
            channels=1,
            patch_size=1,
            position_octaves=3,
            backbone=_stack(mixer, options, d_model=64, num_layers=3, d_ff=d_ff, dropout=0.1),
        ),
        data=LabelledDataConfig(kind="image", source="digits", held_out="tail", test_fraction=0.5),
        augment=AugmentConfig(shift=1.0, rotation=12.0, zoom=0.12),
        optim=OptimConfig(learning_rate=3e-3, min_learning_rate=3e-5, warmup_steps=60, weight_decay=0.05),
        label_smoothing=0.05,
        steps=600,
        batch_size=64,
        eval_every=200,
        save_every=300,
    )


def _spoken(name: str, mixer: str, d_ff: int, **options: Any) -> RecognitionTrainConfig:
    return RecognitionTrainConfig(
        name=name,
        model=AudioEncoderConfig(
            sample_rate=8000,
            num_mels=40,
            halvings=1,
            backbone=_stack(mixer, options, d_model=96, num_layers=4, d_ff=d_ff, dropout=0.1),
        ),
        data=LabelledDataConfig(
            kind="sound",
            source="fsdd",
            label_pattern=r"^(\d)_",
            held_out="names",
            test_pattern=r"_4[5-9]\.wav$",
            max_seconds=1.0,
        ),
        augment=AugmentConfig(delay=0.1, speed=0.1, gain=6.0, noise=0.1, mask_mels=0.2, mask_frames=0.2),
        optim=OptimConfig(learning_rate=2e-3, min_learning_rate=2e-5, warmup_steps=100, weight_decay=0.05),
        label_smoothing=0.1,
        steps=1000,
        batch_size=32,
        eval_every=250,
        save_every=500,
    )


def _text(name: str, mixer: str, d_ff: int, **options: Any) -> RecognitionTrainConfig:
    return RecognitionTrainConfig(
        name=name,
        model=ModelConfig(
            family="spectral", backbone=_stack(mixer, options, d_model=64, num_layers=2, d_ff=d_ff, dropout=0.2)
        ),
        data=LabelledDataConfig(source="topics", tokenizer="bpe", vocab_size=1024, max_tokens=240),
        optim=OptimConfig(learning_rate=2e-3, min_learning_rate=2e-5, warmup_steps=50, weight_decay=0.1),
        label_smoothing=0.05,
        steps=300,
        batch_size=32,
        eval_every=100,
        save_every=150,
    )


def _stack(mixer: str, options: dict[str, Any], **sizes: Any) -> BackboneConfig:
    return BackboneConfig(mixers=(mixer,), mixer_options={mixer: options} if options else {}, num_heads=4, **sizes)
