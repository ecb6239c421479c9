"""The one stack of blocks that every model is a composition of."""

from typing import Protocol, cast, runtime_checkable

import torch
from torch import nn

import undula.mixers  # noqa: F401  (fills the registry)
from undula.mixers.base import Mixer, State, build_mixer
from undula.models.blocks import DeepNormParallelBlock, ParallelBlock, PreNormBlock
from undula.models.config import BackboneConfig
from undula.names import unknown_name
from undula.nn.norms import RMSNorm
from undula.shapes import PaddingMask, Sequence

States = tuple[State, ...]


@runtime_checkable
class LayerHook(Protocol):
    """Called with the index of a layer (0 = the input) and the residual stream there."""

    def __call__(self, layer: int, x: torch.Tensor) -> None:
        """Look at the residual stream."""


def collector(layers: list[torch.Tensor]) -> LayerHook:
    """Return a hook that appends the residual stream of each layer to a list."""

    def collect(layer: int, x: torch.Tensor) -> None:
        layers.append(x)

    return collect


class Backbone(nn.Module):
    """Blocks with a repeating pattern of mixers, then a normalisation.

    Raises:
        ValueError: for an unknown mixer, block or option (names the nearest), or widths that do not divide.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        if not config.mixers:
            raise ValueError("mixers is empty; name at least one, such as ('attention',)")
        for name in config.mixer_options:
            if name not in config.mixers:
                raise unknown_name("mixer in mixer_options", name, config.mixers)
        self.layers = nn.ModuleList(_block(config, index) for index in range(config.num_layers))
        self.norm_f = RMSNorm(config.d_model)

    def forward(
        self,
        x: Sequence,
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Sequence | tuple[Sequence, States]:
        """Return the normalised output of the last block; with a state (one per layer), also the new one."""
        new: list[State] = []
        if on_layer is not None:
            on_layer(0, x)
        for index, layer in enumerate(self.layers):
            if state is None:
                x = layer(x, causal=causal, attention_mask=attention_mask)
            else:
                x, after = layer(x, causal=causal, attention_mask=attention_mask, state=state[index])
                new.append(after)
            if on_layer is not None:
                on_layer(index + 1, x)
        x = self.norm_f(x)
        return x if state is None else (x, tuple(new))

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return every layer's state before the first position."""
        return tuple(mixer.init_state(batch_size, device=device, dtype=dtype) for mixer in self.mixers())

    def mixers(self) -> list[Mixer]:
        """Return the mixers, first layer first."""
        return [cast(Mixer, layer.attn) for layer in self.layers]


def _block(config: BackboneConfig, index: int) -> nn.Module:
    name = config.mixers[index % len(config.mixers)]
    mixer = build_mixer(name, config.d_model, config.num_heads, **config.mixer_options.get(name, {}))
    d_model, heads, d_ff, dropout = config.d_model, config.num_heads, config.d_ff, config.dropout
    match config.block:
        case "pre_norm":
            return PreNormBlock(mixer, d_ff, dropout)
        case "parallel":
            return ParallelBlock(d_model, heads, heads, d_ff, dropout, mixer=mixer)
        case "deepnorm":
            layers = config.num_layers
            return DeepNormParallelBlock(d_model, heads, heads, d_ff, dropout, num_layers=layers, mixer=mixer)
        case other:
            raise unknown_name("block", other, ("pre_norm", "parallel", "deepnorm"))
