"""What a measurement was made on and with."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import undula
from undula.bench.records import Record, git
from undula.bench.setting import BenchSetting
from undula.config import to_dict

Config = dict[str, Any]


def make_records(
    what: str,
    measured: Sequence[tuple[Config, Config]],
    setting: BenchSetting,
    peers: Sequence[str] = (),
    date: str | None = None,
) -> list[Record]:
    """Return a record for each pair of what was measured and what came out; all of one run have the same date.

    Args:
        what: the kind of measurement.
        measured: pairs of configuration, to which the setting is added, and figures.
        setting: how it was measured.
        peers: names of the packages that peers come from; their versions are recorded.
        date: of the run, where its records are made in several calls; None: now.
    """
    source = Path(undula.__file__).parent
    tracked = git(source, "ls-files", "--", "__init__.py")
    commit = git(source, "rev-parse", "HEAD") if tracked else None
    common = {
        "versions": versions(peers),
        "machine": machine(setting),
        "commit": commit,
        "dirty": bool(commit and git(source, "status", "--porcelain", "--", ".")),
        "date": now() if date is None else date,
    }
    how = {"setting": to_dict(setting)}
    return [Record(what=what, config={**config, **how}, figures=figures, **common) for config, figures in measured]


def now() -> str:
    """Return date and time as records have them."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(peers: Sequence[str] = ()) -> dict[str, str | None]:
    """Return the versions of python, torch, transformers, undula and of further packages."""
    packages = {name: _version(name) for name in ("torch", "transformers", *peers)}
    return {"python": platform.python_version(), **packages, "undula": undula.__version__}


def machine(setting: BenchSetting) -> dict[str, Any]:
    """Return the processor, its cores, the GPU, how many threads an operation has, and what changes the allocator."""
    gpu = torch.cuda.get_device_name() if setting.device == "cuda" else None
    found = {"cpu": cpu_model(), "cores": usable_cores(), "threads": setting.threads, "gpu": gpu}
    return {**found, "allocator": allocator()}


def allocator() -> dict[str, str]:
    """Return the variables of the environment that another allocator, or another behaviour of it, is chosen by.

    They matter for long sequences: glibc gives large blocks back to the system, and every fresh page costs.
    """
    names = ("LD_PRELOAD", "GLIBC_TUNABLES", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    return {k: v for k, v in sorted(os.environ.items()) if v and (k in names or k.startswith("MALLOC_"))}


def usable_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_model() -> str:
    """Return the processor's name."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
