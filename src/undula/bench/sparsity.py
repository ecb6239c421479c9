"""Time and parameters of blocks that compute on part of the harmonics, beside blocks that compute on all of them."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from undula.bench.cases import SparsityCase
from undula.bench.environment import make_records
from undula.bench.harness import measuring
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.bench.stacks import timed_stacks
from undula.config import to_dict
from undula.models.backbone import Backbone
from undula.models.config import BackboneConfig
from undula.models.init import initialise
from undula.models.reduction import HarmonicReduction
from undula.nn.harmonic_selector import AdaptiveHarmonicSelector

PEER = "all harmonics"
SAME_INSIDE = "all harmonics, inside as the settled"
"""Blocks of all harmonics whose mixers and feed-forwards are as wide inside as those of the blocks that settle."""


class ReducedStack(nn.Module):
    """Blocks behind a reduction.

    Args:
        reduction: which harmonics they see; None: all.
        backbone: the blocks.
        kept: channels that the blocks of a compacted model have; None: all.
    """

    def __init__(self, reduction: HarmonicReduction | None, backbone: Backbone, kept: int | None = None) -> None:
        super().__init__()
        self.reduction, self.backbone, self.kept = reduction, backbone, kept

    def forward(self, x: Tensor) -> Tensor:
        """Return the sequence, processed."""
        if self.reduction is not None:
            return self.reduction(self.backbone, x)
        return self.backbone(x if self.kept is None else x[..., : self.kept])


def bench_sparsity(name: str, case: SparsityCase, setting: BenchSetting) -> list[Record]:
    """Return a record for each way of saving, ratio and shape: the time forward and backward, and the parameters.

    Args:
        name: the case's name, for the records.
        case: sizes.
        setting: how to measure.

    Raises:
        ValueError: for a device that is not there.
    """
    sizes = {key: value for key, value in to_dict(case).items() if key not in ("shapes", "ratios")}
    with measuring(setting) as device:
        models = {label: build().to(device) for label, build in contestants(case).items()}
        width = 3 * case.num_harmonics
        measured = [
            ({"case": name, **what, **sizes}, figures)
            for shape in case.shapes
            for what, figures in timed_stacks(models, PEER, width, shape, setting)
        ]
    return make_records("sparsity", measured, setting)


def contestants(case: SparsityCase) -> dict[str, Callable[[], nn.Module]]:
    """Return what makes each stack: the peer, then for each ratio each way of computing on part of the harmonics."""
    made: dict[str, Callable[[], nn.Module]] = {PEER: lambda: ReducedStack(None, _blocks(_config(case)))}
    if case.inner_ratio != 1:
        same = _narrow(case, _choosing(case, case.ratios[0], settles=True))
        made[SAME_INSIDE] = lambda: ReducedStack(None, _blocks(same))
    for ratio in case.ratios:
        made[f"zeros, {ratio:g}"] = lambda r=ratio: ReducedStack(_choosing(case, r), _blocks(_config(case)))
        made[f"gathered, {ratio:g}"] = lambda r=ratio: _gathered(case, r)
        made[f"compacted, {ratio:g}"] = lambda r=ratio: _compacted(case, r)
        made[f"sliced, {ratio:g}"] = lambda r=ratio: _sliced(case, r)
        made[f"settled, {ratio:g}"] = lambda r=ratio: _settled(case, r)
    return made


def _config(case: SparsityCase) -> BackboneConfig:
    whole = 3 * case.num_harmonics
    return BackboneConfig(
        d_model=whole,
        num_layers=case.num_layers,
        num_heads=case.num_heads,
        mixers=(case.mixer,),
        block="parallel",
        d_ff=case.d_ff_multi * whole,
    )


def _blocks(config: BackboneConfig) -> Backbone:
    torch.manual_seed(0)
    blocks = Backbone(config)
    initialise(blocks, config.num_layers)
    return blocks


def _choosing(case: SparsityCase, ratio: float, *, gather: bool = False, settles: bool = False) -> HarmonicReduction:
    selector = AdaptiveHarmonicSelector(case.num_harmonics, 3 * case.num_harmonics, ratio, use_dynamic_k=False)
    inside = {"hidden_ratio": case.hidden_ratio, "inner_ratio": case.inner_ratio}
    return HarmonicReduction(case.num_harmonics, selector=selector, gather=gather, settles=settles, **inside)


def _narrow(case: SparsityCase, reduction: HarmonicReduction) -> BackboneConfig:
    return reduction.blocks(replace(_config(case), mixer_options={case.mixer: dict(case.narrow_options)}))


def _gathered(case: SparsityCase, ratio: float) -> nn.Module:
    reduction = _choosing(case, ratio, gather=True)
    return ReducedStack(reduction, _blocks(_narrow(case, reduction)))


def _compacted(case: SparsityCase, ratio: float) -> nn.Module:
    narrow = _narrow(case, _choosing(case, ratio, gather=True))
    return ReducedStack(None, _blocks(narrow), narrow.d_model)


def _settled(case: SparsityCase, ratio: float) -> nn.Module:
    reduction = _choosing(case, ratio, settles=True)
    reduction.settle()
    return ReducedStack(reduction, _blocks(_narrow(case, reduction)))


def _sliced(case: SparsityCase, ratio: float) -> nn.Module:
    reduction = HarmonicReduction(case.num_harmonics, limit="slice")
    reduction.set_freq_limit(ratio)
    return ReducedStack(reduction, _blocks(_config(case)))
