"""Operations of Host that may hang, and therefore run in a child: files, processes and programs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from probe.host import files, places
from probe.host.child import ChildError
from probe.host.namespaces import enter_process, import_own
from probe.host.processes import read_process
from probe.host.program import run_program
from probe.reading import Reading

T = TypeVar("T")


def reading_of(source: str, read: Callable[[], T]) -> Reading[T]:
    """Reading of the return value of *read*; every exception that it may raise becomes a problem."""
    try:
        return Reading(source, read())
    except TimeoutError:
        return Reading.without(source, "timed-out", "no answer in time")
    except (ChildError, ValueError, MemoryError) as error:
        return Reading.without(source, "not-readable", str(error)[:300] or type(error).__name__)
    except OSError as error:
        return Reading.from_error(source, error)


def run_inside(process: int, path: str, arguments: Sequence[str], timeout: float) -> bytes:
    """Output of a program run in the mount namespace and root of *process*, as a Reading; the caller stays there."""
    enter_process(process)
    source = " ".join((path, *arguments))
    return msgspec.json.encode(reading_of(source, lambda: run_program(path, arguments, {}, timeout)))


def _run(path: str, arguments: Sequence[str], environment: dict[str, str], timeout: float) -> bytes:
    return msgspec.json.encode(run_program(path, arguments, environment, timeout))


def _read_all_beneath(directory: str, paths: Sequence[str], limit: int) -> bytes:
    read = {path: reading_of(path, partial(files.read_beneath, directory, path, limit)) for path in paths}
    return msgspec.json.encode(read)


def _list_processes(init: str) -> bytes:
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    return json.dumps([process for pid in pids if (process := read_process(pid, init))]).encode()


def _look(kind: str, path: str) -> bytes:
    from probe.host.look import look  # RecordingHost, which alone asks for it, has imported it before

    return look(kind, path).encode(errors="surrogateescape")


def _looks(kind: str, paths: Sequence[str]) -> bytes:
    from probe.host.look import look  # as above

    roots: dict[str, bool] = {}
    return json.dumps([look(kind, path, roots) for path in paths]).encode()


# Operations that may wait for a server.
OPERATIONS: dict[str, Callable[..., bytes]] = {
    "look": _look,
    "looks": _looks,
    "names": files.names,
    "places": places.places,
    "processes": _list_processes,
    "read_all_beneath": _read_all_beneath,
    "read_beneath": files.read_beneath,
    "read_link": lambda path: os.fsencode(os.readlink(path)),
    "read_path": files.read_path,
    "read_sections": lambda path: import_own("probe.host.unified").read_sections(path),
    "real_path": files.real_path,
    "run": _run,
    "status": files.status,
}
