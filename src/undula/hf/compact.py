"""After training: the same model, physically smaller, of the harmonics that a selector kept most or settled on."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeAlias, cast

from jaxtyping import Int
from torch import Tensor, nn

from undula.hf.configuration import UndulaConfig
from undula.hf.modeling import UndulaForCausalLM
from undula.models.config import SparsityConfig
from undula.models.language_model import WaveLanguageModel
from undula.models.narrow import channels_of, narrow_config, residual_axes, share_of
from undula.models.reduction import HarmonicReduction
from undula.nn.feed_forward import SwiGLU
from undula.nn.harmonic_selector import AdaptiveHarmonicSelector

PLACE = "model.transformer"
"""Where the Wave Transformer stands in the model."""

Cut: TypeAlias = tuple[str, int, Tensor]
"""A parameter's name, an axis of it, and what is left along the axis."""


def compact(model: nn.Module, keep: int | None = None, d_ff: int | None = None) -> UndulaForCausalLM:
    """Return a smaller model of the harmonics that were kept most in training.

    The residual stream narrows from 3 H to 3 k channels: whatever reads or writes it is sliced, the insides of mixers
    stay as wide as they were. Of each feed-forward the hidden units with the largest weights are left. The selector is
    gone: what is left is always kept. The new model is an ordinary one: it can be trained, saved and loaded; the old
    one is left as it was. Of a model that has settled, it is the same function; of another one, which computes on all
    harmonics, a start for a fine-tuning.

    Args:
        model: an `UndulaForCausalLM` of the wave family with a selector, whose blocks are 3 H wide.
        keep: number of harmonics k; by default as many as the selector keeps; with a dynamic k, as it kept on average.
        d_ff: hidden width of the feed-forwards; by default all that they have in a model that settles, else it shrinks
            by as much as the stream, to a multiple of 8.

    Raises:
        ValueError: for another model, a number that is not between 1 and what there is, or a mixer that cannot be
            narrowed.
    """
    if not isinstance(model, UndulaForCausalLM):
        raise ValueError(f"compact needs a language model, UndulaForCausalLM; got {type(model).__name__}")
    wave, reduction, selector = _parts(model)
    config = model.config.model_config
    if config.sparsity.gather or config.codec.ordered:
        raise ValueError(
            "compact needs blocks of all harmonics, in no fixed order: sparsity.gather, codec.ordered False"
        )
    blocks = reduction.blocks(config.backbone)
    total, hidden = selector.num_harmonics, blocks.d_ff
    if reduction.freq_limit is not None and reduction.freq_limit < 1:
        raise ValueError("compact needs a model whose curriculum has ended: its freq_limit is below 1")
    usual = selector.base_k if selector.share is None else round(selector.ema_k.item())
    kept = usual if keep is None else keep
    usual_units = hidden if config.sparsity.settles else min(hidden, share_of(hidden, kept / total))
    units = usual_units if d_ff is None else d_ff
    for name, number, most in (("keep", kept, total), ("d_ff", units, hidden)):
        if not 1 <= number <= most:
            raise ValueError(f"{name}={number} of {most}; wanted 1 up to all of them")
    # Those settled on come first: shares are at most 1.
    order = selector.ema_use if reduction.settled is None else selector.ema_use + 2 * reduction.settled
    harmonics = order.topk(kept).indices.sort().values
    cuts = [*_harmonic_cuts(wave, harmonics, total), *_hidden_cuts(wave, units)]
    backbone = replace(narrow_config(blocks, 3 * kept), d_ff=units)
    described = replace(config, backbone=backbone, sparsity=SparsityConfig(), freq_limit="none")
    ids = {name: getattr(model.config, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    small = UndulaForCausalLM(UndulaConfig(model=described, **ids))
    values = {name: value for name, value in model.state_dict().items() if name in small.state_dict()}
    for name, axis, index in cuts:
        values[name] = values[name].index_select(axis, index)
    cast(nn.Module, small).to(device=harmonics.device, dtype=model.dtype)
    small.load_state_dict(values)
    return small.train(model.training)


def _parts(model: UndulaForCausalLM) -> tuple[WaveLanguageModel, HarmonicReduction, AdaptiveHarmonicSelector]:
    wave: Any = model.model
    reduction = wave.reduction if isinstance(wave, WaveLanguageModel) else None
    if reduction is None or reduction.selector is None:
        raise ValueError("compact needs a wave model that was trained with a selector; set model.sparsity.k_ratio")
    return wave, reduction, reduction.selector


def _harmonic_cuts(wave: WaveLanguageModel, harmonics: Int[Tensor, " K"], total: int) -> Iterator[Cut]:
    """What is left of every parameter that touches harmonics."""
    channels = channels_of(harmonics, total)
    for name, axis in residual_axes(wave.transformer.backbone).items():
        yield f"{PLACE}.backbone.{name}", axis, channels
    for name, _ in wave.transformer.wave_encoder.named_parameters():
        if name.startswith(("to_wave", "base_")):
            yield f"{PLACE}.wave_encoder.{name}", 0, harmonics
    yield f"{PLACE}.wave_decoder.from_wave.weight", 1, channels


def _hidden_cuts(wave: WaveLanguageModel, units: int) -> Iterator[Cut]:
    """What is left of every feed-forward: the units whose weights, in and out, have the largest product of lengths."""
    for name, part in wave.transformer.named_modules():
        if isinstance(part, SwiGLU):
            size = part.w1.weight.norm(dim=1) * part.w3.weight.norm(dim=1) * part.w2.weight.norm(dim=0)
            left = size.topk(units).indices.sort().values
            for weight, axis in (("w1", 0), ("w3", 0), ("w2", 1)):
                yield f"{PLACE}.{name}.{weight}.weight", axis, left
