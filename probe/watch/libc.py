"""Functions of the C library that Python does not offer, by the part of ctypes that is written in C.

The rest of ctypes takes 0.5 MB more, which a process that sleeps would hold for ever.
"""

from __future__ import annotations

try:
    import _ctypes
except ImportError:  # another interpreter than CPython, or one without libffi
    _ctypes = None  # type: ignore[assignment]

_LIBRARIES = _ctypes.dlopen(None, 0) if _ctypes else 0  # type: ignore[arg-type]  # those of this process


def call(function: str, *arguments: int | bytes) -> int:
    """What *function* returns, an `int`; -1 also where there is no such function. `errno` is not kept."""
    try:
        return int(_ctypes.call_function(_ctypes.dlsym(_LIBRARIES, function), arguments))
    except (AttributeError, OSError):
        return -1
