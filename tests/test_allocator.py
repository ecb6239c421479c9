"""Free pages between used ones go back to the system."""

import platform
from pathlib import Path

import pytest
import torch

from undula.allocator import release_free_memory

MEGABYTE = 1 << 20


def resident():
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can do it")
def test_holes_are_given_back():
    # Too small for a mapping of their own: they lie side by side in the heap, and every eighth one stays.
    blocks = [torch.ones(25_000) for _ in range(2_000)]
    kept = blocks[::8]
    del blocks
    full = resident()
    release_free_memory()
    assert full - resident() > 120 * MEGABYTE
    assert all(block.sum() == 25_000 for block in kept)


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr("undula.allocator._malloc_trim", lambda: None)
    release_free_memory()
