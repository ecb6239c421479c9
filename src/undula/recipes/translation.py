"""The recipes for translation."""

from collections.abc import Callable
from typing import Any

from undula.data.config import ParallelDataConfig
from undula.models.config import BackboneConfig, EncoderDecoderConfig
from undula.names import Registry
from undula.optim.config import OptimConfig
from undula.recipes.baseline import TUNED
from undula.training.translation_config import TranslationTrainConfig

TranslationRecipe = Callable[[], TranslationTrainConfig]

TRANSLATION_RECIPES: Registry[TranslationRecipe] = Registry("recipe for translation")


@TRANSLATION_RECIPES.register("multi30k")
def multi30k() -> TranslationTrainConfig:
    """English to German descriptions of pictures: long filters of damped waves, sources read through landmarks."""
    return _translator("multi30k", "fft_conv", "landmarks", 4e-3, d_ff=504)


@TRANSLATION_RECIPES.register("multi30k_attention")
def multi30k_attention() -> TranslationTrainConfig:
    """The baseline of equal size: attention in the encoder, in the decoder, and between them."""
    return _translator("multi30k_attention", "attention", "attention", 2e-3, d_ff=512, **TUNED)


def _translator(
    name: str, mixer: str, cross: str, learning_rate: float, *, d_ff: int, **options: Any
) -> TranslationTrainConfig:
    # Each rate is the best of three, half and twice as high, after 1,200 steps. An end at a quarter of it was then
    # better for both than one near 0. By the loss of the last 1,014 pairs of the training data, which were not read.
    def backbone(read: str | None) -> BackboneConfig:
        return BackboneConfig(
            d_model=256,
            num_layers=3,
            num_heads=4,
            mixers=(mixer,),
            mixer_options={mixer: options} if options else {},
            d_ff=d_ff,
            dropout=0.1,
            cross=read,
        )

    return TranslationTrainConfig(
        name=name,
        model=EncoderDecoderConfig(encoder=backbone(None), decoder=backbone(cross)),
        data=ParallelDataConfig(folder="multi30k", source="en", target="de", vocab_size=8000),
        optim=OptimConfig(
            learning_rate=learning_rate, min_learning_rate=learning_rate / 4, warmup_steps=400, weight_decay=0.01
        ),
        steps=4000,
        batch_size=32,
        eval_every=1000,
        save_every=1000,
    )
