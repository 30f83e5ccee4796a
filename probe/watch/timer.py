"""A timer that two processes share: one puts it off again and again, the other sleeps until it expires."""

from __future__ import annotations

import os
import time


class Timer:
    """A timer that is not set yet. Its descriptor is readable once it has expired.

    *Errors*: OSError (EMFILE; ENOSYS). *Source*: timerfd_create(2).
    """

    def __init__(self) -> None:
        self.descriptor = _create()

    def set(self, seconds: float) -> None:
        """Let it expire in so many seconds, and not before."""
        if hasattr(os, "timerfd_settime"):  # since Python 3.13
            os.timerfd_settime(self.descriptor, initial=seconds)
            return
        import ctypes

        whole, part = divmod(round(seconds * 1e9), 10**9)
        _checked("timerfd_settime", self.descriptor, 0, (ctypes.c_long * 4)(0, 0, whole, part), None)

    def close(self) -> None:
        """Close this process's descriptor."""
        os.close(self.descriptor)


def _create() -> int:
    if hasattr(os, "timerfd_create"):  # since Python 3.13
        return int(os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.O_CLOEXEC))
    return _checked("timerfd_create", time.CLOCK_MONOTONIC, os.O_CLOEXEC)


def _checked(function: str, *arguments: object) -> int:
    import ctypes

    result = int(getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
