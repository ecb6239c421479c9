"""Time, memory and error of a wavelet transform and its inverse, beside other libraries."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import pywt
import torch
from torch import Tensor

from undula.bench.cases import WaveletCase
from undula.bench.environment import Config, make_records
from undula.bench.harness import Contestant, interleaved, measuring, peak_memory, speedup
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.names import Registry
from undula.ops.wavelet import wavedec, waverec
from undula.ops.wavelet_filters import named_filters
from undula.optional import late_import

OURS = "undula"

RoundTrip = Callable[[Tensor], Tensor]

LIBRARIES: Registry[Callable[[WaveletCase, torch.device], RoundTrip]] = Registry("wavelet library")
"""From a case and a device to what takes signals apart and puts them together again."""

WITHOUT_GRADIENTS = ("PyWavelets",)


@LIBRARIES.register(OURS)
def ours(case: WaveletCase, device: torch.device) -> RoundTrip:
    """Return our transform and inverse."""
    analysis, synthesis = (taps.to(device, torch.float32) for taps in named_filters(case.wavelet))

    def run(x: Tensor) -> Tensor:
        approx, details = wavedec(x, analysis, case.levels, case.mode)
        return waverec(approx, details, synthesis, case.mode, x.shape[-1])

    return run


@LIBRARIES.register("ptwt")
def toolbox(case: WaveletCase, device: torch.device) -> RoundTrip:
    """Return those of the PyTorch Wavelet Toolbox.

    Raises:
        ImportError: when it is not installed; names the extra.
    """
    library = late_import("ptwt")
    mode = {"periodization": "periodic"}.get(case.mode, case.mode)
    return lambda x: library.waverec(library.wavedec(x, case.wavelet, level=case.levels, mode=mode), case.wavelet)[
        ..., : x.shape[-1]
    ]


@LIBRARIES.register("pytorch-wavelets")
def pytorch_wavelets(case: WaveletCase, device: torch.device) -> RoundTrip:
    """Return those of pytorch-wavelets.

    Raises:
        ImportError: when it is not installed; names the extra.
    """
    with _without_resources():
        library = late_import("pytorch_wavelets")
    down = library.DWT1DForward(J=case.levels, wave=case.wavelet, mode=case.mode).to(device)
    up = library.DWT1DInverse(wave=case.wavelet, mode=case.mode).to(device)
    return lambda x: up(down(x))[..., : x.shape[-1]]


@LIBRARIES.register("PyWavelets")
def pywavelets(case: WaveletCase, device: torch.device) -> RoundTrip:
    """Return those of PyWavelets: compiled, on the CPU, without gradients."""

    def run(x: Tensor) -> Tensor:
        coefficients = pywt.wavedec(x.cpu().numpy(), case.wavelet, mode=case.mode, level=case.levels)
        back = pywt.waverec(coefficients, case.wavelet, mode=case.mode)
        return torch.from_numpy(back).to(device)[..., : x.shape[-1]]

    return run


def bench_wavelet(name: str, case: WaveletCase, setting: BenchSetting, memory: bool = True) -> list[Record]:
    """Return a record for each library: time and peak of memory there and back, with the input's gradient too.

    `ratio` says how many times as fast as the library ours is; `error` is the largest difference between a standard
    normal signal and what comes back.

    Args:
        name: the case's name, for the records.
        case: sizes.
        setting: how to measure.
        memory: measure the peak of memory too, each in a process of its own.

    Raises:
        ValueError: for a device that is not there, or another precision than float32.
    """
    if setting.dtype != "float32":
        raise ValueError(f"dtype={setting.dtype!r}; wavelets are measured in float32")
    order = [OURS, *(library for library in LIBRARIES if library != OURS)]
    missing = [library for library in order if not _installed(library, case)]
    found = [library for library in order if library not in missing]
    graded = [library for library in found if library not in WITHOUT_GRADIENTS]
    with measuring(setting) as device:
        x = _signals(case, device)
        trips = {library: LIBRARIES[library](case, device) for library in found}
        errors = {library: (trips[library](x) - x).abs().max().item() for library in found}
        times = interleaved({m: Contestant(_forward(trips[m], x)) for m in found}, setting)
        graded_times = interleaved({m: Contestant(_backward(trips[m], x)) for m in graded}, setting)
    measured: list[tuple[Config, Config]] = []
    for library in found:
        ways = {"forward": times, "backward": graded_times}
        figures: Config = {"error": errors[library]}
        for way, timed in ways.items():
            figures[way] = None
            if library in timed:
                peak = _peak(library, case, way == "backward", setting) if memory else None
                ratio = speedup(timed[OURS], timed[library])
                figures[way] = {**timed[library].figures(), "ratio": ratio, "peak_bytes": peak}
        config = {"case": name, "model": library, "peer": OURS, "missing": missing, **to_dict(case)}
        measured.append((config, figures))
    return make_records("wavelet", measured, setting, peers=("ptwt", "pytorch-wavelets", "PyWavelets"))


def _installed(library: str, case: WaveletCase) -> bool:
    try:
        LIBRARIES[library](case, torch.device("cpu"))
    except ImportError:
        return False
    return True


def _signals(case: WaveletCase, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(case.batch_size, case.channels, case.length, generator=generator).to(device)


def _forward(trip: RoundTrip, x: Tensor) -> Callable[[], Tensor]:
    @torch.no_grad()
    def run() -> Tensor:
        return trip(x)

    return run


def _backward(trip: RoundTrip, x: Tensor) -> Callable[[], Tensor]:
    leaf, weights = x.clone().requires_grad_(), x.flip(-1)

    def run() -> Tensor:
        leaf.grad = None
        trip(leaf).backward(weights)
        return leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)

    return run


def _peak(library: str, case: WaveletCase, backward: bool, setting: BenchSetting) -> int:
    return peak_memory(_prepare, library, case, backward, setting, setting=setting)


def _prepare(library: str, case: WaveletCase, backward: bool, setting: BenchSetting) -> Callable[[], Tensor]:
    device = torch.device(setting.device)
    trip, x = LIBRARIES[library](case, device), _signals(case, device)
    # One small run first: what a library sets up once is no part of the peak.
    trip(x[:1, :1])
    return _backward(trip, x) if backward else _forward(trip, x)


@contextmanager
def _without_resources() -> Iterator[None]:
    """Let a library be imported that asks for pkg_resources, which setuptools has no more, for tables not used here."""
    name = "pkg_resources"
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)
    stand_in.resource_stream = None  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]
