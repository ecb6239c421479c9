"""After training: the same model, physically smaller, of the harmonics that a selector kept most."""

from dataclasses import replace
from typing import Any, cast

from jaxtyping import Int
from torch import Tensor, nn

from undula.hf.configuration import UndulaConfig
from undula.hf.modeling import UndulaForCausalLM
from undula.models.config import ModelConfig, SparsityConfig
from undula.models.language_model import WaveLanguageModel
from undula.models.narrow import channels_of, narrow_config, residual_axes
from undula.nn.harmonic_selector import AdaptiveHarmonicSelector

PLACE = "model.transformer"
"""Where the Wave Transformer stands in the model."""


def compact(model: UndulaForCausalLM, keep: int | None = None) -> UndulaForCausalLM:
    """Return a smaller model of the harmonics that were kept most in training, with its own start of a fine-tuning.

    The residual stream narrows from 3 H to 3 k channels: whatever reads or writes it is sliced, the insides of mixers
    and feed-forwards stay as wide as they were. The selector is gone: what is left is always kept. The new model is an
    ordinary one: it can be trained, saved and loaded; the old one is left as it was.

    Args:
        model: a language model of the wave family with a selector whose blocks are 3 H wide.
        keep: number of harmonics k; by default as many as the selector keeps.

    Raises:
        ValueError: for another model, a number that is not between 1 and H, or a mixer that cannot be narrowed.
    """
    config = model.config.model_config
    wave, selector = _parts(model)
    if config.sparsity.gather or config.codec.ordered:
        raise ValueError(
            "compact needs blocks of all harmonics, in no fixed order: sparsity.gather, codec.ordered False"
        )
    kept = selector.base_k if keep is None else keep
    if not 1 <= kept <= selector.num_harmonics:
        raise ValueError(f"keep={kept} of {selector.num_harmonics} harmonics; wanted 1 up to all of them")
    harmonics = selector.ema_use.topk(kept).indices.sort().values
    axes = _axes(wave, harmonics, selector.num_harmonics)
    ids = {name: getattr(model.config, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    small = UndulaForCausalLM(UndulaConfig(model=_narrow_config(config, kept), **ids))
    old = model.state_dict()
    sliced = {name: old[name].index_select(*axes[name]) if name in axes else old[name] for name in small.state_dict()}
    cast(nn.Module, small).to(device=harmonics.device, dtype=model.dtype)
    small.load_state_dict(sliced)
    return small.train(model.training)


def _parts(model: UndulaForCausalLM) -> tuple[WaveLanguageModel, AdaptiveHarmonicSelector]:
    wave: Any = model.model
    reduction = wave.reduction if isinstance(wave, WaveLanguageModel) else None
    if reduction is None or reduction.selector is None:
        raise ValueError("compact needs a wave model that was trained with a selector; set model.sparsity.k_ratio")
    return wave, reduction.selector


def _axes(
    wave: WaveLanguageModel, harmonics: Int[Tensor, " K"], num_harmonics: int
) -> dict[str, tuple[int, Int[Tensor, " kept"]]]:
    """Of every parameter that touches harmonics: along which axis, and what is kept of it."""
    channels = channels_of(harmonics, num_harmonics)
    backbone = residual_axes(wave.transformer.backbone)
    axes = {f"{PLACE}.backbone.{name}": (axis, channels) for name, axis in backbone.items()}
    encoder = wave.transformer.wave_encoder.named_parameters()
    parts = [name for name, _ in encoder if name.startswith(("to_wave", "base_"))]
    axes.update({f"{PLACE}.wave_encoder.{name}": (0, harmonics) for name in parts})
    axes[f"{PLACE}.wave_decoder.from_wave.weight"] = (1, channels)
    return axes


def _narrow_config(config: ModelConfig, kept: int) -> ModelConfig:
    backbone = narrow_config(config.backbone, 3 * kept)
    return replace(config, backbone=backbone, sparsity=SparsityConfig(), freq_limit="none")
