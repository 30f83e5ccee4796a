"""Operations of Host that may hang, and therefore run in a child: files, processes and programs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import msgspec

from probe.host import files, places
from probe.host.abstract import Host
from probe.host.child import ChildError, run_child
from probe.host.namespaces import enter_process, import_own
from probe.host.processes import read_process
from probe.host.program import Untrusted, open_executable, run_open, run_program
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


def run_daemon(host: Host, pid: int, arguments: Sequence[str], timeout: float) -> bytes:
    """Output, as JSON, of the executable of process *pid*. *Errors*: Untrusted; as `run_open`."""
    with _directory_of(pid) as process:
        executable, path = open_executable(process)
        try:
            _demand_daemon(host, pid, process)
            return msgspec.json.encode(run_open(executable, path, arguments, {}, timeout))
        finally:
            os.close(executable)


def run_inside(host: Host, pid: int, path: str, arguments: Sequence[str], timeout: float) -> bytes:
    """Output of a program run in the mount namespace and root of process *pid*, as a Reading in JSON.

    *Errors*: Untrusted; as `run_child`.
    """

    def run(process: int) -> bytes:
        enter_process(process)
        source = " ".join((path, *arguments))
        return msgspec.json.encode(reading_of(source, lambda: run_program(path, arguments, {}, timeout)))

    with _directory_of(pid) as process:
        _demand_daemon(host, pid, process)
        return run_child(lambda: run(process), timeout + 1, limit=8 << 20)


@contextmanager
def _directory_of(pid: int) -> Iterator[int]:
    """Descriptor of the directory of process *pid* in /proc, which no later process of that number has."""
    process = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield process
    finally:
        os.close(process)


def _demand_daemon(host: Host, pid: int, process: int) -> None:
    """Refuse what is not a daemon of this node; *process* is the directory of *pid*. *Errors*: Untrusted; OSError."""
    if not host.node_daemon(pid).value:
        raise Untrusted("not run: that process is not known to be a daemon of this node")
    os.stat("status", dir_fd=process)  # fails if the number passed to another process meanwhile


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
