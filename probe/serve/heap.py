"""Free memory of the C library's heap, given back to the kernel."""

from __future__ import annotations

import ctypes

_libc = ctypes.CDLL(None)


def trim() -> None:
    """Give back whole pages that are free; rare work as a page or a request by TLS leaves megabytes of them.

    *Source*: malloc_trim(3); only glibc has it.
    """
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(0)
