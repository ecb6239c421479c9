"""How to measure, as plain data (no torch here: `--help` reads this)."""

from dataclasses import dataclass
from typing import Literal

DeviceName = Literal["cpu", "cuda"]
DtypeName = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class BenchSetting:
    """How often, where and how precisely to measure.

    Args:
        repeats: rounds; in each of them every contestant runs once, one after the other.
        warmup: rounds before those that count.
        device: what computes.
        dtype: `bfloat16` computes matrix products in bfloat16 (autocast); parameters stay float32.
        threads: of one operation on a CPU.

    Raises:
        ValueError: for a value out of range.
    """

    repeats: int = 5
    warmup: int = 1
    device: DeviceName = "cpu"
    dtype: DtypeName = "float32"
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("repeats", 1), ("warmup", 0), ("threads", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; wanted at least {least}")
