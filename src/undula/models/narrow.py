"""Blocks on some of the residual stream's channels: the same parameters, sliced where they touch the stream.

A channel that is left out costs nothing: matrices shrink along the axis that reads or writes it, what is inside a mixer
or a feed-forward stays as wide as it was.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.func import functional_call

from undula.mixers.base import MIXERS, Mixer, mixer_options
from undula.models.backbone import Backbone, States
from undula.models.config import BackboneConfig
from undula.nn.feed_forward import SwiGLU
from undula.nn.mixture import MixtureOfExperts
from undula.nn.norms import RMSNorm

FEED_FORWARD: Mapping[str, int] = {"w1.weight": 1, "w3.weight": 1, "w2.weight": 0}
"""The parameters of a feed-forward that touch the stream, and which axis does."""


def channels_of(harmonics: Int[Tensor, " K"], num_harmonics: int) -> Int[Tensor, " K3"]:
    """Return the channels of some harmonics in a representation of all H: frequencies, then amplitudes, then phases."""
    return torch.cat([harmonics, harmonics + num_harmonics, harmonics + 2 * num_harmonics])


def share_of(width: int, share: float) -> int:
    """Return a share of a width in multiples of 8, others are slower; at least 8, where there are so many."""
    return max(min(8, width), 8 * round(width * share / 8))


def inside_config(config: BackboneConfig, width: int) -> BackboneConfig:
    """Return the backbone whose mixers are that wide inside, where they can and are not told otherwise."""
    options = dict(config.mixer_options)
    for mixer in config.mixers:
        if "d_inner" in mixer_options(MIXERS[mixer]):
            options[mixer] = {"d_inner": width, **options.get(mixer, {})}
    return replace(config, mixer_options=options)


def narrow_config(config: BackboneConfig, width: int) -> BackboneConfig:
    """Return the backbone with a narrower stream; mixers stay as wide inside as they were, where they can."""
    return replace(inside_config(config, config.d_model), d_model=width)


def narrowed_parameters(backbone: Backbone, channels: Int[Tensor, " K3"]) -> dict[str, Tensor]:
    """Return the backbone's parameters by name, those that touch the stream with the given channels alone.

    Gradients flow back into the parameters themselves.

    Raises:
        ValueError: for a mixer that does not say which of its parameters touch the stream.
    """
    axes = residual_axes(backbone)
    return {
        name: p.index_select(axes[name], channels) if name in axes else p for name, p in backbone.named_parameters()
    }


def residual_axes(backbone: Backbone) -> dict[str, int]:
    """Return which axis of which parameter touches the residual stream.

    Raises:
        ValueError: for a mixer that does not say, and for pyramids, whose bands have widths of their own.
    """
    if len(backbone.pyramids):
        raise ValueError("a backbone with pyramids cannot be narrowed; leave backbone.pyramid.after empty")
    axes = {"norm_f.weight": 0}
    for index, layer in enumerate(backbone.layers):
        for name, part in layer.named_children():
            axes.update({f"layers.{index}.{name}.{key}": axis for key, axis in _axes_of(part).items()})
    return axes


def narrowed(backbone: Backbone, channels: Int[Tensor, " K3"]) -> Callable[..., Any]:
    """Return the backbone as a function of the given channels (B, T, K3), with the parameters that touch them."""
    parameters = narrowed_parameters(backbone, channels)

    def run(*args: Any, **kwargs: Any) -> Any:
        return functional_call(backbone, parameters, args, kwargs)

    return run


def narrowed_state(
    backbone: Backbone,
    channels: Int[Tensor, " K3"],
    batch_size: int,
    device: torch.device | None,
    dtype: torch.dtype | None,
) -> States:
    """Return the state of a narrowed backbone before the first position: what remembers the stream is narrower, too."""
    parameters = {f"backbone.{name}": p for name, p in narrowed_parameters(backbone, channels).items()}
    return functional_call(_Beginning(backbone), parameters, (batch_size, device, dtype))


class _Beginning(nn.Module):
    """A backbone that is called for its state, since only a call may have other parameters."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch_size: int, device: torch.device | None, dtype: torch.dtype | None) -> States:
        return self.backbone.init_state(batch_size, device=device, dtype=dtype)


def _axes_of(part: nn.Module) -> Mapping[str, int]:
    if isinstance(part, RMSNorm):
        return {"weight": 0}
    if isinstance(part, SwiGLU):
        return FEED_FORWARD
    if isinstance(part, MixtureOfExperts):
        inside = {f"experts.{i}.{key}": axis for i in range(len(part.experts)) for key, axis in FEED_FORWARD.items()}
        return {"router.weight": 1, **inside}
    if not isinstance(part, Mixer):
        return {}
    if not part.residual_axes:
        raise ValueError(
            f"{type(part).__name__} does not say which of its parameters touch the stream, so it cannot be narrowed"
        )
    return part.residual_axes
