"""Time and error of Fourier transforms: those of the device, and those made of matrix products."""

from collections.abc import Callable

import torch
from torch import Tensor

from undula.bench.cases import TransformsCase
from undula.bench.environment import Config, make_records
from undula.bench.harness import Contestant, interleaved, measuring, relative_error, speedup
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.ops.fft import irfft, rfft, transforms_by_matmul

PEER = "torch.fft"
WAYS = {PEER: False, "matrix products": True}


def bench_transforms(name: str, case: TransformsCase, setting: BenchSetting) -> list[Record]:
    """Return a record for each way and length: time there and back, how many times as fast as torch.fft, and the error.

    The error is the largest of the spectrum and of what comes back, against torch.fft in float64, over their root mean
    squares.

    Args:
        name: the case's name, for the records.
        case: sizes.
        setting: how to measure.
    """
    measured: list[tuple[Config, Config]] = []
    with measuring(setting) as device:
        for points in case.points:
            generator = torch.Generator().manual_seed(0)
            x = torch.randn(case.samples // points, points, generator=generator).to(device)
            times = interleaved({way: Contestant(_there_and_back(x, way)) for way in WAYS}, setting)
            for way, timing in times.items():
                figures = {"ratio": speedup(timing, times[PEER]), "error": _error(x, way)}
                what = {"case": name, "model": way, "peer": PEER, "points": points, "samples": case.samples}
                measured.append((what, {**timing.figures(), **figures}))
    return make_records("transforms", measured, setting)


def _there_and_back(x: Tensor, way: str) -> Callable[[], tuple[Tensor, Tensor]]:
    def run() -> tuple[Tensor, Tensor]:
        with transforms_by_matmul(WAYS[way]):
            spectrum = rfft(x)
            return spectrum, irfft(spectrum, x.shape[-1])

    return run


def _error(x: Tensor, way: str) -> float:
    spectrum, back = _there_and_back(x, way)()
    exact = torch.view_as_real(_there_and_back(x.double(), PEER)()[0])
    return max(relative_error(torch.view_as_real(spectrum), exact), relative_error(back, x.double()))
