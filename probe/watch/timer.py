"""A timer that two processes share: one puts it off again and again, the other sleeps until it expires."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # `watch` holds for ever what it imports, and typing takes 0.6 MB
    from typing import Any


class Timer:
    """A timer that is not set yet. Its descriptor is readable once it has expired.

    *Errors*: OSError (EMFILE; ENOSYS). *Source*: timerfd_create(2).
    """

    def __init__(self) -> None:
        self._libc: Any = None
        if hasattr(os, "timerfd_create"):  # since Python 3.13
            self.descriptor = int(os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.O_CLOEXEC))
            return
        import ctypes

        self._libc = ctypes.CDLL(None, use_errno=True)
        self._time = (ctypes.c_long * 4)()  # struct itimerspec: an interval, and the time until it expires
        self.descriptor = self._call("timerfd_create", time.CLOCK_MONOTONIC, os.O_CLOEXEC)

    def set(self, seconds: float) -> None:
        """Let it expire in so many seconds, and not before."""
        if self._libc is None:
            os.timerfd_settime(self.descriptor, initial=seconds)  # type: ignore[attr-defined, unused-ignore]
            return
        self._time[2:] = list(divmod(round(seconds * 1e9), 10**9))
        self._call("timerfd_settime", self.descriptor, 0, self._time, None)

    def close(self) -> None:
        """Close this process's descriptor."""
        os.close(self.descriptor)

    def _call(self, function: str, *arguments: object) -> int:
        result = int(getattr(self._libc, function)(*arguments))
        if result < 0:
            number = sys.modules["ctypes"].get_errno()
            raise OSError(number, os.strerror(number))
        return result
