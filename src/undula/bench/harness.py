"""Time, memory and error of pieces of code: interleaved rounds, medians, fresh processes."""

import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from undula.bench.setting import BenchSetting


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of each round, by the clock on the wall and by that of the process (all its threads)."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the wall clock, in seconds."""
        return statistics.median(self.wall)

    def figures(self) -> dict[str, float]:
        """Return medians and extremes for a record."""
        return {
            "seconds": self.median,
            "seconds_least": min(self.wall),
            "seconds_most": max(self.wall),
            "cpu_seconds": statistics.median(self.cpu),
        }


def speedup(own: Timing, peer: Timing) -> float:
    """Return how many times faster than the peer: the median over rounds of peer's time / own time.

    Round by round, because a machine that slows down slows both.
    """
    return statistics.median(theirs / ours for theirs, ours in zip(peer.wall, own.wall, strict=True))


@dataclass(frozen=True)
class Contestant:
    """What takes part in a comparison.

    Args:
        run: what is timed, once in each round.
        before: what is done before each run and not timed.
    """

    run: Callable[[], object]
    before: Callable[[], object] | None = None


def interleaved(contestants: Mapping[str, Contestant], setting: BenchSetting) -> dict[str, Timing]:
    """Return the time of each contestant, which take turns: A B A B and not A A B B.

    Args:
        contestants: by name.
        setting: rounds, warm-up and device.
    """
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    cpu: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(setting.warmup + setting.repeats):
        for name, contestant in contestants.items():
            if contestant.before is not None:
                contestant.before()
            _finish(setting)
            started, started_cpu = time.perf_counter(), time.process_time()
            contestant.run()
            _finish(setting)
            if turn >= setting.warmup:
                wall[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - started_cpu)
    return {name: Timing(wall=tuple(wall[name]), cpu=tuple(cpu[name])) for name in contestants}


def _finish(setting: BenchSetting) -> None:
    """Wait for what the device still has to do."""
    if setting.device == "cuda":
        torch.cuda.synchronize()


@contextmanager
def measuring(setting: BenchSetting) -> Iterator[torch.device]:
    """Set the number of threads for a while; give the device.

    Raises:
        ValueError: when there is no such device.
    """
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda', and torch finds no GPU; take device=cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    try:
        yield torch.device(setting.device)
    finally:
        torch.set_num_threads(before)


def precision(setting: BenchSetting) -> AbstractContextManager[object]:
    """Return the context in which a forward pass runs."""
    if setting.dtype == "float32":
        return nullcontext()
    return torch.autocast(setting.device, dtype=torch.bfloat16)


@dataclass(frozen=True, kw_only=True)
class FreshRun:
    """One run in a process that has run nothing else.

    Args:
        peak_bytes: by which it raises the peak of memory, what it was prepared with left out.
        seconds: by the clock on the wall, the first time included.
        cpu_seconds: of all threads.
    """

    peak_bytes: int
    seconds: float
    cpu_seconds: float


def peak_memory(prepare: Callable[..., Callable[[], object]], *arguments: object, setting: BenchSetting) -> int:
    """Return the bytes by which a run raises the peak of memory; see `fresh_run`."""
    return fresh_run(prepare, *arguments, setting=setting).peak_bytes


def fresh_run(prepare: Callable[..., Callable[[], object]], *arguments: object, setting: BenchSetting) -> FreshRun:
    """Return time and memory of one run. On a CPU memory is the resident size of a fresh process, on a GPU its tensors.

    Args:
        prepare: a function of a module, called with the arguments; returns what is to be run.
        arguments: have to survive pickling.
        setting: device and threads.
    """
    if setting.device == "cuda":
        return _run_of_gpu(prepare(*arguments))
    # Forked from a server that has imported everything and run nothing: fresh, and there at once.
    context = get_context("forkserver")
    context.set_forkserver_preload([prepare.__module__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_run_of_process, prepare, arguments, setting).result()


def _run_of_process(
    prepare: Callable[..., Callable[[], object]], arguments: tuple[object, ...], setting: BenchSetting
) -> FreshRun:
    with measuring(setting):
        run = prepare(*arguments)
        _forget_peak()
        before = peak_resident()
        return _clocked(run, lambda: peak_resident() - before)


def _clocked(run: Callable[[], object], added: Callable[[], int]) -> FreshRun:
    started, started_cpu = time.perf_counter(), time.process_time()
    run()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    return FreshRun(peak_bytes=added(), seconds=seconds, cpu_seconds=cpu_seconds)


def _run_of_gpu(run: Callable[[], object]) -> FreshRun:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()

    def finished() -> None:
        run()
        torch.cuda.synchronize()

    return _clocked(finished, lambda: torch.cuda.max_memory_allocated() - before)


def peak_resident() -> int:
    """Return the largest resident size that this process ever had, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage, which on Linux starts a new process with the peak of the one that started it.
        lines = status.read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _forget_peak() -> None:
    """Have Linux count the peak from now on: importing leaves one that would hide a small run."""
    switch = Path("/proc/self/clear_refs")
    if switch.exists():
        switch.write_text("5", encoding="ascii")


def relative_error(got: Tensor, exact: Tensor) -> float:
    """Return the largest difference over the root mean square of the exact values; infinite if not finite."""
    wide = got.detach().to(torch.float64)
    if not wide.isfinite().all():
        return math.inf
    return ((wide - exact).abs().max() / exact.square().mean().sqrt()).item()
