"""Which harmonics the blocks of a Wave Transformer compute on: all, the chosen ones, or those below a limit."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from undula.models.backbone import Backbone, LayerHook, States
from undula.models.config import BackboneConfig
from undula.models.narrow import (
    channels_of,
    inside_config,
    narrow_config,
    narrowed,
    narrowed_state,
    residual_axes,
    share_of,
)
from undula.names import unknown_name
from undula.nn.frequency_mask import FrequencyMask
from undula.nn.harmonic_gather import HarmonicGather
from undula.nn.harmonic_selector import AdaptiveHarmonicSelector, Stats
from undula.shapes import PaddingMask, Sequence

Limit = Literal["none", "mask", "slice"]

SLICES = 8
"""A curriculum by slices grows in so many steps: each is a new shape for the kernels, and for torch.compile."""


def slices_within(freq_limit: float) -> int:
    """Return how many of the slices a curriculum's limit lets in."""
    return math.ceil(SLICES * freq_limit - 1e-6)


class HarmonicReduction(nn.Module):
    """Runs blocks on part of the harmonics of a representation (B, T, 3 H) and returns all of them.

    Args:
        num_harmonics: harmonics H.
        selector: chooses harmonics at each position; the others become 0, or with `gather` are left out.
        gather: blocks are 3 k wide and see the k kept harmonics alone.
        settles: from `settle` on, the blocks compute on the k harmonics that the selector had kept most, the same at
            every position, as a slice; the selector has then done its work.
        limit: what a curriculum's limit does. "mask": amplitudes fade above it, by frequency. "slice": blocks compute
            on the first harmonics alone, which must rise in frequency; less work while the limit is low. "none".
        hidden_ratio: hidden units of feed-forwards that gather or settle, over those of others; None: k / H.
        inner_ratio: width inside of their mixers, over 3 H.

    Raises:
        ValueError: when `gather` or `settles` has no selector with a fixed k, or goes with "slice" or the other; for an
            unknown limit.

    Attributes: selection, what the selector chose in the last forward pass (None before), and real, its mask of real
    positions (None: all are); keeps_statistics: also without gradients, when a loss has no use for it; freq_limit, a
    buffer; settled (H,), a buffer, which harmonics are left since `settle`, none before; present, the harmonics of a
    slice, None where the blocks have them all.
    """

    freq_limit: Tensor | None
    settled: Bool[Tensor, " H"] | None

    def __init__(
        self,
        num_harmonics: int,
        *,
        selector: AdaptiveHarmonicSelector | None = None,
        gather: bool = False,
        settles: bool = False,
        limit: str = "none",
        hidden_ratio: float | None = None,
        inner_ratio: float = 1.0,
    ) -> None:
        super().__init__()
        self.hidden_ratio, self.inner_ratio = hidden_ratio, inner_ratio
        if limit not in get_args(Limit):
            raise unknown_name("limit", limit, get_args(Limit))
        if gather and (selector is None or selector.share is not None or limit == "slice"):
            raise ValueError("gather=True needs a selector with a fixed k and no slices: the blocks have one width")
        if settles and (selector is None or selector.share is not None or limit == "slice" or gather):
            raise ValueError("settles=True needs a selector with a fixed k, and neither slices nor gather beside it")
        self.num_harmonics, self.limit = num_harmonics, limit
        self.selector = selector
        self.gather = HarmonicGather(num_harmonics, selector.base_k) if gather and selector is not None else None
        self.mask = FrequencyMask(num_harmonics) if limit == "mask" else None
        self.register_buffer("freq_limit", None if limit == "none" else torch.ones(()))
        self.register_buffer("settled", torch.zeros(num_harmonics, dtype=torch.bool) if settles else None)
        self.present: Tensor | None = None
        self.selection: Stats | None = None
        self.real: PaddingMask | None = None
        self.keeps_statistics = False

    def __getstate__(self) -> dict[str, Any]:
        # What was chosen hangs on the graph of a forward pass, which cannot be copied and is nobody else's.
        return {**self.__dict__, "selection": None, "real": None}

    def blocks(self, config: BackboneConfig) -> BackboneConfig:
        """Return the blocks that compute on what is left, given those that compute on all.

        Feed-forwards of gathered blocks, and of those that settle, are narrower; their mixers may be wider inside.

        Raises:
            ValueError: for gathered blocks that read their channels as waves: after the gather's map they are none; for
                mixers without a width of their own, to which `inner_ratio` means nothing.
        """
        waves = config.pyramid.after or config.block == "phase_parallel" or "phase_coherent" in config.mixers
        if self.gather is not None and waves:
            raise ValueError(
                "gather=True with a pyramid or phase coherence: gathered channels have no bands and phases"
            )
        if self.selector is None or (self.gather is None and self.settled is None):
            return config
        if self.inner_ratio != 1:
            inside = inside_config(config, share_of(config.d_model, self.inner_ratio))
            if inside == config:
                raise ValueError(f"inner_ratio={self.inner_ratio:g}: d_inner of {config.mixers} is given or missing")
            config = inside
        share = self.selector.base_k / self.num_harmonics if self.hidden_ratio is None else self.hidden_ratio
        config = replace(config, d_ff=share_of(config.d_ff, share))
        return config if self.gather is None else narrow_config(config, 3 * self.gather.kept)

    def check(self, backbone: Backbone) -> None:
        """Refuse a backbone that cannot be narrowed where it will have to be, before it is trained until then.

        Raises:
            ValueError: as `residual_axes` does.
        """
        if self.settled is not None or self.limit == "slice":
            residual_axes(backbone)

    def set_freq_limit(self, freq_limit: float) -> None:
        """Let frequencies below a share of the band through; the limit is saved with the model.

        Raises:
            ValueError: for a limit outside (0, 1], or without a curriculum.
        """
        if self.freq_limit is None:
            raise ValueError("the model has limit='none'; give it 'mask' or 'slice' to limit its frequencies")
        if not 0 < freq_limit <= 1:
            raise ValueError(f"freq_limit={freq_limit}; wanted a share above 0 and up to 1")
        self.freq_limit.fill_(freq_limit)
        self.after_loading()

    def settle(self) -> None:
        """Choose, once and for all, the k harmonics that the selector kept most so far; saved with the model.

        In a training of several processes all choose the same: those that were kept most by all of them together.

        Raises:
            ValueError: without `settles`.
        """
        if self.settled is None or self.selector is None:
            raise ValueError("the model has settles=False; set model.sparsity.settles to choose once and for all")
        used = self.selector.ema_use.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(used)
        self.settled[used.topk(self.selector.base_k).indices] = True
        self.after_loading()

    def after_loading(self) -> None:
        """Take note of the limit, or of the settled harmonics, that a buffer holds."""
        if self.freq_limit is not None and self.limit == "slice":
            low = math.ceil(self.num_harmonics * slices_within(self.freq_limit.item()) / SLICES)
            self.present = None if low == self.num_harmonics else torch.arange(low)
        if self.settled is not None and self.settled.any():
            self.present = self.settled.nonzero()[:, 0]
            if self.selector is not None:
                # Nothing depends on it any more: it has no gradient, and need not be averaged over processes.
                self.selector.requires_grad_(False)

    def forward(
        self,
        backbone: Backbone,
        x: Sequence,
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Sequence | tuple[Sequence, States]:
        """Return what the backbone makes of part of x, as a representation of all harmonics; else as the backbone."""
        run = partial(_called, causal=causal, attention_mask=attention_mask, state=state, on_layer=on_layer)
        if self.mask is not None and self.freq_limit is not None:
            x = self.mask(x, self.freq_limit)
        if self.selector is not None and (self.settled is None or self.present is None):
            x = self._select(self.selector, x, attention_mask)
            if self.gather is not None:
                return run(backbone, self.gather.narrow(x), self.gather.widen)
        if self.present is None:
            return run(backbone, x, lambda y: y)
        channels = self._channels(x.device)
        low, silent = x.index_select(-1, channels), torch.zeros_like(x)
        return run(narrowed(backbone, channels), low, lambda y: silent.index_copy(-1, channels, y.to(x.dtype)))

    def init_state(
        self, backbone: Backbone, batch_size: int, *, device: torch.device | None, dtype: torch.dtype | None
    ) -> States:
        """Return the state of the blocks, as wide as they are now, before the first position."""
        if self.present is None:
            return backbone.init_state(batch_size, device=device, dtype=dtype)
        channels = self._channels(next(backbone.parameters()).device)
        return narrowed_state(backbone, channels, batch_size, device, dtype)

    def _channels(self, device: torch.device) -> Int[Tensor, " K3"]:
        present = torch.arange(self.num_harmonics) if self.present is None else self.present
        return channels_of(present.to(device), self.num_harmonics)

    def _select(self, selector: AdaptiveHarmonicSelector, x: Sequence, attention_mask: PaddingMask | None) -> Sequence:
        """The representation with the chosen harmonics alone."""
        if torch.is_grad_enabled() or self.keeps_statistics:
            self.selection, self.real = selector.select(x, attention_mask), attention_mask
            return selector.applied(x, self.selection)
        chosen = selector.choose(x, attention_mask).chosen.to(x.dtype)
        self.selection = self.real = None
        return x * chosen.repeat(1, 1, 3)


def _called(blocks: Callable[..., Any], x: Tensor, widen: Callable[[Tensor], Tensor], **given: Any) -> Any:
    """What blocks return, the sequence made wide again: alone, or the first of (sequence, state)."""
    result = blocks(x, **given)
    return (widen(result[0]), *result[1:]) if isinstance(result, tuple) else widen(result)
