"""Time and parameters of a pyramid, beside a stack of blocks of the whole width."""

from collections.abc import Callable

import torch
from torch import nn

from undula.bench.cases import PyramidCase
from undula.bench.environment import make_records
from undula.bench.harness import measuring
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.bench.stacks import timed_stacks
from undula.config import to_dict
from undula.models.blocks import ParallelBlock
from undula.models.init import initialise
from undula.models.pyramid import MultiResolutionWavePyramid

PEER = "single scale"


def bench_pyramid(name: str, case: PyramidCase, setting: BenchSetting) -> list[Record]:
    """Return a record for each model and shape: the time of a pass forward and backward, and the parameters.

    Args:
        name: the case's name, for the records.
        case: sizes.
        setting: how to measure.

    Raises:
        ValueError: for a device that is not there.
    """
    sizes = {key: value for key, value in to_dict(case).items() if key not in ("shapes", "strides")}
    with measuring(setting) as device:
        models = {model: build(case).to(device) for model, build in contestants(case).items()}
        measured = [
            ({"case": name, **what, **sizes}, figures)
            for shape in case.shapes
            for what, figures in timed_stacks(models, PEER, 3 * case.num_harmonics, shape, setting)
        ]
    return make_records("pyramid", measured, setting)


def contestants(case: PyramidCase) -> dict[str, Callable[[PyramidCase], nn.Module]]:
    """Return what makes each model: the peer, then a pyramid for each choice of strides."""

    def pyramid(strides: tuple[int, int, int]) -> Callable[[PyramidCase], nn.Module]:
        return lambda case: _pyramid(case, strides)

    named = {f"pyramid, strides {', '.join(map(str, strides))}": pyramid(strides) for strides in case.strides}
    return {PEER: _single_scale, **named}


def _single_scale(case: PyramidCase) -> nn.Module:
    torch.manual_seed(0)
    d_model = 3 * case.num_harmonics
    sizes = (d_model, case.num_heads, case.num_kv_heads, case.d_ff_multi * d_model)
    stack = nn.Sequential(*(ParallelBlock(*sizes, rotary=True) for _ in range(case.num_layers)))
    initialise(stack, case.num_layers)
    return stack


def _pyramid(case: PyramidCase, strides: tuple[int, int, int]) -> nn.Module:
    torch.manual_seed(0)
    model = MultiResolutionWavePyramid(
        case.num_harmonics,
        band_num_layers=case.band_num_layers,
        n_heads_q=case.num_heads,
        n_heads_kv=case.num_kv_heads,
        d_ff_multi=case.d_ff_multi,
        dropout=0.0,
        band_strides=strides,
    )
    # A closed gate sends zeros back, which some processors multiply faster.
    nn.init.ones_(model.gate)
    return model
