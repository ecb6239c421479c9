"""The one stack of blocks that every model is a composition of."""

from collections.abc import Iterator
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import undula.mixers  # noqa: F401  (fills the registry)
from undula.mixers.base import Mixer, State, build_mixer
from undula.mixers.cross import CROSS_MIXERS, CrossMixer, Memory
from undula.mixers.cross_landmarks import CrossLandmarks
from undula.mixers.phase_coherent import PhaseCoherentAttention
from undula.models.blocks import (
    CrossedState,
    DeepNormParallelBlock,
    ParallelBlock,
    PhaseCoherentParallelBlock,
    PreNormBlock,
)
from undula.models.config import BackboneConfig
from undula.models.pyramid import MultiResolutionWavePyramid
from undula.names import unknown_name
from undula.nn.mixture import MixtureOfExperts
from undula.nn.norms import RMSNorm
from undula.ops.half_waves import Grid
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
        ValueError: for an unknown mixer, block or option (names the nearest), widths that do not divide, a pyramid
            after a block that is not there, or a cross mixer in a block that has no place for one.

    Attributes: layers, the blocks; pyramids; norm_f.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        if not config.mixers:
            raise ValueError("mixers is empty; name at least one, such as ('attention',)")
        for name in config.mixer_options:
            if name not in config.mixers:
                raise unknown_name("mixer in mixer_options", name, config.mixers)
        self.layers = nn.ModuleList(build_block(config, index) for index in range(config.num_layers))
        self.norm_f: nn.Module = RMSNorm(config.d_model)
        self.pyramids, self.places = _pyramids(config)
        self.checkpointing = config.checkpointing

    def forward(
        self,
        x: Sequence,
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
        memory: Memory | None = None,
        alignments: list[torch.Tensor] | None = None,
        grid: Grid | None = None,
    ) -> Sequence | tuple[Sequence, States]:
        """Return the normalised output of the last block; with a state (one for each part), also the new one.

        Args:
            memory: what blocks with a cross mixer read; a state holds it already.
            alignments: takes the weights (B, N, T, S) of source positions, block by block.
            grid: rows and columns of which the positions are the cells, for blocks with a mixer of grids.
        """
        new: list[State] = []
        for number in range(len(self.layers) + 1):
            for part in self._parts(number):
                given = {"causal": causal, "attention_mask": attention_mask}
                if getattr(part, "cross", None) is not None:
                    given |= {"memory": memory, "alignments": alignments}
                if getattr(part, "on_grid", False):
                    given |= {"grid": grid}
                if state is None:
                    x = self._run(part, x, **given)
                else:
                    x, after = self._run(part, x, **given, state=state[len(new)])
                    new.append(after)
            if on_layer is not None:
                on_layer(number, x)
        x = self.norm_f(x)
        return x if state is None else (x, tuple(new))

    def _run(self, part: nn.Module, x: Sequence, **given: Any) -> Any:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(part, x, use_reentrant=False, **given)
        return part(x, **given)

    def init_state(
        self,
        batch_size: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        memory: Memory | None = None,
    ) -> States:
        """Return the state of every block and pyramid before the first position, in the order in which they run.

        Args:
            memory: the source, for blocks with a cross mixer: what they keep of it is computed here, once.
        """
        states: list[State] = []
        for part in (part for number in range(len(self.layers) + 1) for part in self._parts(number)):
            state = getattr(part, "attn", part).init_state(batch_size, device=device, dtype=dtype)
            cross = getattr(part, "cross", None)
            if cross is not None and memory is None:
                raise ValueError("this backbone reads a source; give init_state its memory")
            states.append(state if cross is None else CrossedState(state, cross.absorb(memory)))
        return tuple(states)

    def _parts(self, number: int) -> Iterator[Any]:
        """The block of a number (0: none), and the pyramids after it."""
        if number:
            yield self.layers[number - 1]
        yield from (self.pyramids[place] for place in self.places[number])

    def mixers(self) -> list[Mixer]:
        """Return the mixers, first layer first."""
        return [cast(Mixer, layer.attn) for layer in self.layers]


def build_block(config: BackboneConfig, index: int) -> nn.Module:
    """Return the block of a backbone's layer, counted from 0.

    Raises:
        ValueError: for an unknown mixer, block or option (names the nearest), or widths that do not divide.
    """
    name = config.mixers[index % len(config.mixers)]
    mixer = build_mixer(name, config.d_model, config.num_heads, **config.mixer_options.get(name, {}))
    d_model, heads, d_ff, dropout = config.d_model, config.num_heads, config.d_ff, config.dropout
    if config.cross is not None and config.block != "pre_norm":
        raise ValueError(f"block={config.block!r} reads no source; blocks with cross={config.cross!r} are 'pre_norm'")
    if mixer.traits.grid and config.block != "pre_norm":
        raise ValueError(f"block={config.block!r} has no grid; blocks with the mixer {name!r} are 'pre_norm'")
    ffn = build_experts(config)
    match config.block:
        case "pre_norm":
            return PreNormBlock(mixer, d_ff, dropout, ffn=ffn, cross=_cross(config))
        case "parallel":
            return ParallelBlock(d_model, heads, heads, d_ff, dropout, mixer=mixer, ffn=ffn)
        case "deepnorm":
            layers = config.num_layers
            return DeepNormParallelBlock(d_model, heads, heads, d_ff, dropout, num_layers=layers, mixer=mixer, ffn=ffn)
        case "phase_parallel":
            if not isinstance(mixer, PhaseCoherentAttention):
                raise ValueError(f"block='phase_parallel' hands on phases; {name!r} takes none, phase_coherent does")
            third = d_model // 3
            return PhaseCoherentParallelBlock(d_model, third, heads, heads, d_ff, dropout, mixer=mixer, ffn=ffn)
        case other:
            raise unknown_name("block", other, ("pre_norm", "parallel", "deepnorm", "phase_parallel"))


def _cross(config: BackboneConfig) -> CrossMixer | None:
    if config.cross is None:
        return None
    kind = CROSS_MIXERS[config.cross]
    if kind is CrossLandmarks:
        return CrossLandmarks(config.d_model, config.num_heads, num_landmarks=config.num_landmarks)
    return kind(config.d_model, config.num_heads)


def build_experts(config: BackboneConfig) -> MixtureOfExperts | None:
    """Return the mixture of experts that takes the place of a block's feed-forward; None for none."""
    mixture = config.mixture
    if not mixture.experts:
        return None
    return MixtureOfExperts(config.d_model, config.d_ff, mixture.experts, mixture.active, balance=mixture.balance)


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
