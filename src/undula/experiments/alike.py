"""What every comparison asks of its runs: names of their own, equal values where results depend on them, one device."""

import dataclasses
from collections.abc import Sequence

import torch

from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.training.config import RunConfig

SHARED = ("data", "steps", "batch_size", "accumulation", "device", "precision")
"""What has to be equal for batches, and what computes, to be equal."""


def check_alike(configs: Sequence[RunConfig], shared: Sequence[str] = SHARED) -> None:
    """Refuse runs that could not be compared.

    Args:
        configs: a run for each model.
        shared: names of values that have to be equal.

    Raises:
        ValueError: when there is none, a name is taken twice, or models would not be trained alike.
    """
    names = [config.name for config in configs]
    if not names:
        raise ValueError("nothing to compare; name at least one recipe")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice; give each model a name of its own")
    first = to_dict(configs[0])
    for config in configs[1:]:
        values = to_dict(config)
        unequal = [f"{key} ({first[key]} and {values[key]})" for key in shared if first[key] != values[key]]
        if unequal:
            raise ValueError(
                f"{names[0]} and {config.name} would not be trained alike: {'; '.join(unequal)}; "
                "set these values for both, or use a protocol"
            )


def where_it_trains(config: RunConfig, setting: BenchSetting) -> BenchSetting:
    """Return the setting with the device and the precision that a run has."""
    device = "cuda" if config.device == "auto" and torch.cuda.is_available() else "cpu"
    narrow = config.precision == "bfloat16" or (config.precision == "auto" and device == "cuda")
    return dataclasses.replace(setting, device=device, dtype="bfloat16" if narrow else "float32")
