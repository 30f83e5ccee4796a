"""Processes as /proc shows them, and which of them belong to the node."""

from __future__ import annotations

import errno
import os
import re
import signal

from msgspec import Struct

HELPER_NAME = "up "
"""How the name of a child begins that touches what may hang; the device of a mount or a digest of a path follows."""
START_UNCERTAINTY = 2.0
"""Seconds: starts are counted from the boot of the kernel, whose time /proc/stat tells in whole seconds."""
_LIMIT = 1 << 16
"""Bytes that are read of one file of a process."""

_POD_CGROUP = re.compile(r"kubepods|/pod[0-9a-f]{8}[-_]|/(cri-containerd|crio|docker|libpod)-|/docker/|/libpod")

_LIKE_KUBELET = re.compile("kube|k3s")


class Process(Struct, frozen=True):
    """One process of this node."""

    pid: int
    name: str
    argv: tuple[str, ...]
    """Empty unless it may be a kubelet of the node."""


def parse_status(content: str) -> dict[str, str]:
    """proc_pid_status(5) as a dictionary; the first of two lines of one name wins, as the kernel writes each once."""
    fields: dict[str, str] = {}
    for line in content.split("\n"):  # nothing else ends a line: a process may have a carriage return in its name
        name, separator, value = line.partition(":")
        if separator:
            fields.setdefault(name, value.strip())
    if "Uid" not in fields:
        raise ValueError("no Uid field")
    return fields


def is_stuck(status: dict[str, str]) -> bool:
    """Whether root's process was killed and cannot die: it waits for a server that never answers.

    Nobody else's name is to be believed, nor that of a process that runs.
    """
    pending = int(status.get("SigPnd", "0"), 16) | int(status.get("ShdPnd", "0"), 16)
    killed = pending >> (signal.SIGKILL - 1) & 1
    return bool(killed) and status.get("State", "").startswith("D") and set(status["Uid"].split()) == {"0"}


def in_pod_cgroup(content: str, init: str = "") -> bool:
    """Whether proc_pid_cgroup(5) names the cgroup of a Pod or container in any hierarchy.

    *init* is the same of process 1: where the node is a container itself (kind), what lies above it does not count.
    """
    above = {
        _hierarchy(line): os.path.dirname(line.split(":", 2)[2]).rstrip("/")
        for line in init.split("\n")
        if _hierarchy(line)
    }
    for line in content.split("\n"):
        path = line.split(":", 2)[-1]
        if _POD_CGROUP.search(path.removeprefix(above.get(_hierarchy(line), ""))):
            return True
    return False


def _hierarchy(line: str) -> str:
    """The controllers of a line of proc_pid_cgroup(5), which name its hierarchy; empty where it is no such line."""
    number, separator, rest = line.partition(":")
    return number + separator + rest.partition(":")[0] if rest.count(":") else ""


def read_process(pid: int, init: str) -> tuple[int, str, list[str]] | None:
    """Number, name and, of a process of the node that may be a kubelet, arguments; None when it has ended.

    Owner, name and executable tell most of them apart, at a tenth of what reading all costs. *Errors*: OSError when
    nothing more can be opened: then nobody knows which processes there are.
    """
    try:
        owner = os.stat(f"/proc/{pid}").st_uid  # root's also where the process may not be traced
        name = read_proc(f"{pid}/comm").removesuffix("\n")
        command = _read_command(pid, init) if owner == 0 and _may_be_kubelet(pid, name) else ""
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return None
    except ValueError:
        return None
    return pid, name, command.removesuffix("\0").split("\0") if command else []


def _may_be_kubelet(pid: int, name: str) -> bool:
    """Whether its name or its executable is like that of a kubelet, however it was started."""
    if _LIKE_KUBELET.search(name):
        return True
    try:
        return _LIKE_KUBELET.search(os.readlink(f"/proc/{pid}/exe")) is not None
    except FileNotFoundError:  # a thread of the kernel
        return False
    except PermissionError:
        return True


def _read_command(pid: int, init: str) -> str:
    """The arguments of root's process in no Pod. Whoever wrote another one may have made reading them hang."""
    status = parse_status(read_proc(f"{pid}/status"))
    own = status["Uid"].split()[:1] == ["0"] and not in_pod_cgroup(read_proc(f"{pid}/cgroup"), init)
    return read_proc(f"{pid}/cmdline") if own else ""


def boot_time() -> float:
    """When the kernel started, in seconds since the epoch, by whole seconds. *Source*: proc_stat(5), btime."""
    with open("/proc/stat", "rb") as file:
        for line in file:
            if line.startswith(b"btime "):
                return float(line.split()[1])
    raise ValueError("no btime")


def start_time(pid: int) -> float:
    """When that process started, in seconds since the kernel did. *Source*: proc_pid_stat(5), starttime."""
    return int(read_proc(f"{pid}/stat").rpartition(") ")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def read_proc(name: str) -> str:
    """The beginning of a file of /proc, with surrogates for bytes that are no UTF-8."""
    with open(f"/proc/{name}", "rb", buffering=0) as file:
        return (file.read(_LIMIT) or b"").decode(errors="surrogateescape")
