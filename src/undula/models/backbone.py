"""The one stack of blocks that every model is a composition of."""

from collections.abc import Iterator
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import nn

import undula.mixers  # noqa: F401  (fills the registry)
from undula.mixers.base import Mixer, State, build_mixer
from undula.mixers.phase_coherent import PhaseCoherentAttention
from undula.models.blocks import DeepNormParallelBlock, ParallelBlock, PhaseCoherentParallelBlock, PreNormBlock
from undula.models.config import BackboneConfig
from undula.models.pyramid import MultiResolutionWavePyramid
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
    """Blocks with a repeating pattern of mixers, pyramids among them where the configuration says so; then a norm.

    Raises:
        ValueError: for an unknown mixer, block or option (names the nearest), widths that do not divide, or a pyramid
            after a block that is not there.

    Attributes: layers, the blocks; pyramids; norm_f.
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
        self.pyramids, self.places = _pyramids(config)

    def forward(
        self,
        x: Sequence,
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Sequence | tuple[Sequence, States]:
        """Return the normalised output of the last block; with a state (one for each part), also the new one."""
        new: list[State] = []
        for number in range(len(self.layers) + 1):
            for part in self._parts(number):
                if state is None:
                    x = part(x, causal=causal, attention_mask=attention_mask)
                else:
                    x, after = part(x, causal=causal, attention_mask=attention_mask, state=state[len(new)])
                    new.append(after)
            if on_layer is not None:
                on_layer(number, x)
        x = self.norm_f(x)
        return x if state is None else (x, tuple(new))

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state of every block and pyramid before the first position, in the order in which they run."""
        parts = (part for number in range(len(self.layers) + 1) for part in self._parts(number))
        return tuple(getattr(p, "attn", p).init_state(batch_size, device=device, dtype=dtype) for p in parts)

    def _parts(self, number: int) -> Iterator[Any]:
        """The block of a number (0: none), and the pyramids after it."""
        if number:
            yield self.layers[number - 1]
        yield from (self.pyramids[place] for place in self.places[number])

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
        case "phase_parallel":
            if not isinstance(mixer, PhaseCoherentAttention):
                raise ValueError(f"block='phase_parallel' hands on phases; {name!r} takes none, phase_coherent does")
            return PhaseCoherentParallelBlock(d_model, d_model // 3, heads, heads, d_ff, dropout, mixer=mixer)
        case other:
            raise unknown_name("block", other, ("pre_norm", "parallel", "deepnorm", "phase_parallel"))


def _pyramids(config: BackboneConfig) -> tuple[nn.ModuleList, list[list[int]]]:
    """The pyramids, and for each number of a block those that stand after it."""
    pyramid, blocks = config.pyramid, range(config.num_layers + 1)
    for number in pyramid.after:
        if number not in blocks:
            raise ValueError(
                f"pyramid.after={list(pyramid.after)}: there is no block {number}; "
                f"wanted numbers from 0 to num_layers={config.num_layers}"
            )
    if pyramid.after and config.d_model % 3:
        raise ValueError(f"d_model={config.d_model} is not 3 x harmonics; pyramids need a multiple of 3")
    numbers = sorted(pyramid.after)
    made = min(1, len(numbers)) if pyramid.shared else len(numbers)
    pyramids = nn.ModuleList(
        MultiResolutionWavePyramid(
            config.d_model // 3,
            pyramid.band_boundaries,
            pyramid.band_num_layers,
            config.num_heads,
            pyramid.num_kv_heads or config.num_heads,
            pyramid.d_ff_multi,
            config.dropout,
            pyramid.cross_band,
            band_strides=pyramid.band_strides or None,
            mixer=pyramid.mixer,
            mixer_options=pyramid.mixer_options,
        )
        for _ in range(made)
    )
    which = [0] * len(numbers) if pyramid.shared else list(range(len(numbers)))
    return pyramids, [[place for place, after in zip(which, numbers, strict=True) if after == n] for n in blocks]
