"""Free memory of the C library's heap, given back to the kernel."""

from __future__ import annotations

from probe.watch.libc import call


def trim() -> None:
    """Give back whole pages that are free; rare work as a page or a request by TLS leaves megabytes of them.

    *Source*: malloc_trim(3); only glibc has it.
    """
    call("malloc_trim", 0)
