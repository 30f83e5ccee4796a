"""Free memory of the heap goes back to the kernel."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from lab.prerequisites import require
from probe.watch import heap
from probe.watch.libc import call

BLOCKS, SIZE = 10_000, 1000


def dirty() -> int:
    """Bytes of this process that are its own and written to."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_Dirty:"))


def test_what_is_free_below_what_is_in_use_is_given_back() -> None:
    """free(3) gives back only what lies at the end of the heap."""
    libc = ctypes.CDLL(None)
    require(hasattr(libc, "malloc_trim"), "glibc")
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )
    blocks = [libc.malloc(SIZE) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    in_use = libc.malloc(SIZE)
    for block in blocks:
        libc.free(block)
    before = dirty()
    heap.trim()
    assert before - dirty() > BLOCKS * SIZE / 2
    libc.free(in_use)


def test_another_library_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """musl has no such function, and the exporter runs all the same."""
    monkeypatch.setattr(heap, "call", lambda _function, *arguments: call("no_such_function", *arguments))
    heap.trim()
