"""What the C library's allocator keeps of memory that nobody uses."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache


def release_free_memory() -> None:
    """Give pages that are free, but between used ones, back to the system.

    A loop that allocates megabytes and keeps a little of each turn leaves glibc's heap full of holes: blocks of the
    next turn do not fit in, and resident memory grows by most of a turn each time. One call in each turn prevents
    that; it takes some milliseconds. Only glibc has such a call: elsewhere nothing happens. Source: malloc_trim(3).
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
