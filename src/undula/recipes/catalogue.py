"""The recipes for text: a Wave Transformer, the models it is held against, and a run of seconds to try things out.

They differ in the model alone: text, optimizer and steps come from one place. Feed-forward widths are chosen so that
all models of a comparison have the same number of parameters, within 1 %, in multiples of 8: others are slower.
"""

from collections.abc import Callable
from typing import Any

from undula.data.config import DataConfig
from undula.models.config import BackboneConfig, BlockName, CodecConfig, ModelConfig
from undula.models.spectral_config import SpectralConfig
from undula.names import Registry
from undula.optim.config import OptimConfig
from undula.recipes import long
from undula.recipes import spectral_llm as spectral
from undula.recipes import wave_gpt as wave_native
from undula.recipes.baseline import TUNED
from undula.recipes.changes import changed
from undula.training.config import TrainConfig

STEPS = 800
"""About four passes over the embedded text; with twice as many, models of this size learn it by heart and the held-out
score turns."""
DROPOUT = 0.1

NARROW: dict[str, Any] = {
    "model.sparsity.k_ratio": 0.5,
    "model.sparsity.hidden_ratio": 1 / 4,
    "model.sparsity.inner_ratio": 3 / 2,
    "model.backbone.mixer_options": {"fft_conv": {"num_modes": 4}},
}
"""Blocks on half of the harmonics, with more and simpler filters and fewer hidden units than blocks on all have: what
narrow blocks missed on characters was filters. `undula bench sparsity h64_fft_conv` times such blocks."""

Recipe = Callable[[], TrainConfig]

RECIPES: Registry[Recipe] = Registry("recipe")

DEFAULT = "wave_lm"
"""The recipe that is trained when none is named."""


def purpose(recipe: Callable[[], Any]) -> str:
    """Return what a recipe is for: the first line of its docstring."""
    return (recipe.__doc__ or "").strip().partition("\n")[0]


@RECIPES.register("wave_lm")
def wave_lm() -> TrainConfig:
    """A Wave Transformer of 40 harmonics whose blocks convolve with long filters of damped waves."""
    return _text("wave_lm", _wave("fft_conv", d_ff=352))


@RECIPES.register("wave_sparse_lm")
def wave_sparse_lm() -> TrainConfig:
    """The default, whose blocks see half of the harmonics of each position, as a selector chooses."""
    changes = {"name": "wave_sparse_lm", "model.sparsity.k_ratio": 0.5, "model.backbone.d_ff": 344}
    return changed(wave_lm(), changes)


@RECIPES.register("wave_gather_lm")
def wave_gather_lm() -> TrainConfig:
    """The same half, gathered: blocks half as wide compute on it alone; a smaller and faster model."""
    changes = {"name": "wave_gather_lm", **NARROW, "model.sparsity.gather": True}
    return changed(wave_lm(), changes)


@RECIPES.register("wave_compact_lm")
def wave_compact_lm() -> TrainConfig:
    """The default, which settles on half of its harmonics early: what is trained from then on is the compact model."""
    changes = {"name": "wave_compact_lm", **NARROW, "model.sparsity.settles": True, "settling": 0.15}
    return changed(wave_lm(), changes)


@RECIPES.register("wave_curriculum_lm")
def wave_curriculum_lm() -> TrainConfig:
    """The default, trained on low harmonics first: blocks compute on those alone for half of the steps."""
    changes = {
        "name": "wave_curriculum_lm",
        "model.freq_limit": "slice",
        "model.codec.ordered": True,
        "curriculum.share": 0.5,
    }
    return changed(wave_lm(), changes)


@RECIPES.register("wave_phase_lm")
def wave_phase_lm() -> TrainConfig:
    """A Wave Transformer whose attention counts how far the waves of two positions swing together."""
    return _text("wave_phase_lm", _phase(d_ff=360))


@RECIPES.register("wave_pyramid_lm")
def wave_pyramid_lm() -> TrainConfig:
    """Three blocks of the default, and before the last a pyramid: bands of harmonics with depths of their own."""
    changes = {
        "name": "wave_pyramid_lm",
        "model.backbone.num_layers": 3,
        "model.backbone.pyramid.after": (2,),
        "model.backbone.pyramid.band_num_layers": (2, 1, 1),
        "model.backbone.pyramid.mixer": "fft_conv",
        "model.backbone.d_ff": 336,
    }
    return changed(wave_lm(), changes)


@RECIPES.register("wave_enhanced")
def wave_enhanced() -> TrainConfig:
    """All enhancements: chosen harmonics, a curriculum of frequencies, phase-coherent attention and a pyramid."""
    changes = {
        "model.sparsity.k_ratio": 0.5,
        "model.sparsity.dynamic_k": True,
        "model.freq_limit": "mask",
        "curriculum.share": 0.3,
        "model.backbone.num_layers": 2,
        "model.backbone.pyramid.after": (1,),
        "model.backbone.pyramid.band_num_layers": (3, 2, 1),
        "model.backbone.pyramid.mixer_options": TUNED,
    }
    return changed(_text("wave_enhanced", _phase(d_ff=480)), changes)


@RECIPES.register("wave_attention_lm")
def wave_attention_lm() -> TrainConfig:
    """The same Wave Transformer with attention in its blocks."""
    return _text("wave_attention_lm", _wave("attention", d_ff=360, **TUNED))


@RECIPES.register("attention_lm")
def attention_lm() -> TrainConfig:
    """The baseline: a plain transformer with rotary positions, RMSNorm and SwiGLU, tuned."""
    return _text("attention_lm", _plain("attention", d_ff=344, **TUNED))


@RECIPES.register("attention_short_lm")
def attention_short_lm() -> TrainConfig:
    """The baseline with a short convolution on queries, keys and values: the twin of what wave mixers have too."""
    return _text("attention_short_lm", _plain("attention", d_ff=336, short_conv=4, **TUNED))


@RECIPES.register("fft_conv_lm")
def fft_conv_lm() -> TrainConfig:
    """The baseline's backbone with long filters of damped waves in place of attention."""
    return _text("fft_conv_lm", _plain("fft_conv", d_ff=336))


@RECIPES.register("short_conv_lm")
def short_conv_lm() -> TrainConfig:
    """Short filters alone: the twin that shows how much of a long filter's gain is locality."""
    return _text("short_conv_lm", _plain("short_conv", d_ff=336))


@RECIPES.register("spectral_lm")
def spectral_lm() -> TrainConfig:
    """Long filters in bands of timescales, each band with a gate that the text sets: a dense spectral model."""
    return _text("spectral_lm", _spectral("dense", d_ff=328))


@RECIPES.register("spectral_hybrid_lm")
def spectral_hybrid_lm() -> TrainConfig:
    """The same, and every second layer attends."""
    model = _spectral("hybrid", d_ff=336, attention_every=2)
    return _text("spectral_hybrid_lm", changed(model, {"backbone.mixer_options.attention": TUNED}))


@RECIPES.register("spectral_adaptive_lm")
def spectral_adaptive_lm() -> TrainConfig:
    """Filters that each 16 tokens set anew from what was before; heads keep a share of them that they learn."""
    return _text("spectral_adaptive_lm", _spectral("adaptive", d_ff=296, chunk_size=16))


@RECIPES.register("spectral_llm")
def spectral_llm() -> TrainConfig:
    """A SpectralLLM: signals for tokens, layers of wavelet attention, long filters and gated bands of them."""
    return spectral.described(_text("spectral_llm", ModelConfig()), spectral.SMALL)


@RECIPES.register("wave_gpt")
def wave_gpt() -> TrainConfig:
    """A Wave-Native GPT of the documented small size: wave packets that interfere."""
    return wave_native.wave_gpt("small")


@RECIPES.register("smoke")
def smoke() -> TrainConfig:
    """A tiny Wave Transformer for a few steps: shows in seconds that everything works."""
    backbone = BackboneConfig(d_model=24, num_layers=2, num_heads=2, mixers=("fft_conv",), block="parallel", d_ff=48)
    return TrainConfig(
        name="smoke",
        model=ModelConfig(family="wave", backbone=backbone, codec=CodecConfig(d_model=16, num_heads=2)),
        data=DataConfig(block_size=32),
        optim=OptimConfig(warmup_steps=5),
        steps=30,
        batch_size=8,
        eval_every=15,
        save_every=15,
        eval_batch_size=256,
    )


for _recipe in (long.spectral_long, long.needle, long.copy):
    RECIPES.register(_recipe.__name__)(_recipe)


def _text(name: str, model: ModelConfig) -> TrainConfig:
    return TrainConfig(
        name=name,
        model=model,
        data=DataConfig(source="python-docs", tokenizer="byte", block_size=128),
        optim=OptimConfig(learning_rate=1e-3, min_learning_rate=1e-4, warmup_steps=100),
        steps=STEPS,
        batch_size=16,
        eval_every=100,
        save_every=400,
    )


def _plain(mixer: str, d_ff: int, **options: Any) -> ModelConfig:
    backbone = _backbone(mixer, 128, d_ff, "pre_norm", options)
    return ModelConfig(family="plain", backbone=backbone)


def _spectral(layer_type: str, d_ff: int, **described: Any) -> ModelConfig:
    config = SpectralConfig(
        vocab_size=ModelConfig().vocab_size,
        embed_dim=128,
        hidden_dim=128,
        num_layers=4,
        num_heads=4,
        layer_type=layer_type,
        dropout=DROPOUT,
        tie_word_embeddings=False,
        **described,
    )
    # Nothing in these models counts positions: they take texts of any length.
    return changed(config.model(), {"backbone.d_ff": d_ff, "context_length": None})


def _wave(mixer: str, d_ff: int, **options: Any) -> ModelConfig:
    backbone = _backbone(mixer, 120, d_ff, "parallel", options)
    return ModelConfig(family="wave", backbone=backbone, codec=CodecConfig(d_model=96, num_heads=0, num_layers=0))


def _phase(d_ff: int) -> ModelConfig:
    backbone = _backbone("phase_coherent", 120, d_ff, "phase_parallel", TUNED)
    return ModelConfig(family="wave", backbone=backbone, codec=CodecConfig(d_model=96, num_heads=0, num_layers=0))


def _backbone(mixer: str, d_model: int, d_ff: int, block: BlockName, options: dict[str, Any]) -> BackboneConfig:
    return BackboneConfig(
        d_model=d_model,
        num_layers=4,
        num_heads=4,
        mixers=(mixer,),
        mixer_options={mixer: options} if options else {},
        block=block,
        d_ff=d_ff,
        dropout=DROPOUT,
    )
