"""Processes of /proc, and the test whether they belong to the node or to a Pod."""

from __future__ import annotations

import errno
import os
import re
import signal
import time

from msgspec import Struct

HELPER_NAME = "up "
"""Prefix of the name of a child whose call may hang; the device of a mount or a digest of a path follows."""
START_UNCERTAINTY = 2.0
"""Error of a start time in seconds: /proc/stat gives the boot time in whole seconds."""
_LIMIT = 1 << 16
"""Maximum bytes read from one file of a process."""

_POD_CGROUP = re.compile(r"kubepods|/pod[0-9a-f]{8}[-_]|/(cri-containerd|crio|docker|libpod)-|/docker/|/libpod")

CONTAINER_CGROUP = re.compile(r"/(?:docker|libpod)[-/]|/machine\.slice/libpod|/libpod_parent/")
"""Cgroups of containers of podman and docker, which may be those of a Pod, too."""
_KUBERNETES_CGROUP = re.compile(r"kubepods|/pod[0-9a-f]{8}[-_]|/(?:cri-containerd|crio)-")
_HEXADECIMAL = re.compile(r"[0-9a-f]{1,16}")
_OF_THE_NODE = 1 << 19 | 1 << 21  # CAP_SYS_PTRACE and CAP_SYS_ADMIN

_LIKE_KUBELET = "kube", "k3s", "microshift", "edgecore"


class Process(Struct, frozen=True):
    """One process of this node."""

    pid: int
    name: str
    argv: tuple[str, ...]
    """Arguments; empty unless the process may be a kubelet of the node."""


def parse_status(content: str) -> dict[str, str]:
    """proc_pid_status(5) as a dictionary; of two lines with one name the first wins."""
    fields: dict[str, str] = {}
    for line in content.split("\n"):  # not splitlines: a process may have a carriage return in its name
        name, separator, value = line.partition(":")
        if separator:
            fields.setdefault(name, value.strip())
    if "Uid" not in fields:
        raise ValueError("no Uid field")
    return fields


def status_field(fields: dict[str, str], name: str) -> str:
    """One of the fields of `parse_status`. *Errors*: ValueError without it."""
    if name not in fields:
        raise ValueError(f"no {name} field")
    return fields[name]


def is_stuck(status: dict[str, str]) -> bool:
    """True for a process of root that has SIGKILL pending and stays in state D: it waits for a hung server.

    Names of other users' processes are not trusted, nor those of running processes.
    """
    pending = int(status.get("SigPnd", "0"), 16) | int(status.get("ShdPnd", "0"), 16)
    killed = pending >> (signal.SIGKILL - 1) & 1
    return bool(killed) and status.get("State", "").startswith("D") and set(status["Uid"].split()) == {"0"}


def in_pod_cgroup(content: str, init: str = "") -> bool:
    """True when proc_pid_cgroup(5) names the cgroup of a Pod or container in any hierarchy.

    *init* is the same file of process 1: when the node is a container itself (kind), its own path is ignored.
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


def in_container_of_node(cgroup: str, status: dict[str, str]) -> bool:
    """True for a process of a container that podman or docker runs as a part of the node, as some run the kubelet.

    It shares the node's PID namespace, is in no Pod, and has capabilities with which it is root of the node anyway.
    """
    held = status.get("CapEff", "")
    return (
        bool(CONTAINER_CGROUP.search(cgroup))
        and not _KUBERNETES_CGROUP.search(cgroup)
        and len(status.get("NSpid", "").split()) == 1
        and bool(_HEXADECIMAL.fullmatch(held))
        and int(held, 16) & _OF_THE_NODE == _OF_THE_NODE
    )


def _hierarchy(line: str) -> str:
    """Hierarchy ID and controllers of a line of proc_pid_cgroup(5); empty for a malformed line."""
    number, separator, rest = line.partition(":")
    return number + separator + rest.partition(":")[0] if rest.count(":") else ""


def read_process(pid: int, init: str) -> tuple[int, str, list[str]] | None:
    """(pid, name, arguments) of a process, arguments only if it may be a kubelet of the node; None when it has ended.

    Owner, name and executable exclude most processes, for a tenth of the time of reading everything. *Errors*: OSError
    with EMFILE, ENFILE or ENOMEM, since the list would be incomplete.
    """
    try:
        owner = os.stat(f"/proc/{pid}").st_uid  # readable without the right to trace the process
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
    """True when the name or the executable resembles a kubelet, or the executable may not be read."""
    if any(word in name for word in _LIKE_KUBELET):
        return True
    try:
        executable = os.readlink(f"/proc/{pid}/exe")
        return any(word in executable for word in _LIKE_KUBELET)
    except FileNotFoundError:  # a thread of the kernel
        return False
    except PermissionError:
        return True


def _read_command(pid: int, init: str) -> str:
    """Arguments of a process of root outside of Pods; reading those of a hostile process may hang."""
    status = parse_status(read_proc(f"{pid}/status"))
    cgroup = read_proc(f"{pid}/cgroup")
    outside = not in_pod_cgroup(cgroup, init) or in_container_of_node(cgroup, status)
    return read_proc(f"{pid}/cmdline") if outside and status["Uid"].split()[:1] == ["0"] else ""


def boot_time() -> float:
    """Boot time of the kernel in whole seconds since the epoch. *Source*: proc_stat(5), btime."""
    try:
        with open("/proc/stat", "rb") as file:
            for line in file:
                if line.startswith(b"btime "):
                    return float(line.split()[1])
    except FileNotFoundError:  # a /proc with the option subset=pid
        return float(round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)))
    raise ValueError("no btime")


def start_time(pid: int) -> float:
    """Start time of a process in seconds since boot. *Errors*: OSError; ValueError."""
    return parse_start(read_proc(f"{pid}/stat")) / os.sysconf("SC_CLK_TCK")


def parse_start(stat: str) -> int:
    """Start time of a process in clock ticks since boot. *Errors*: ValueError. *Source*: proc_pid_stat(5)."""
    fields = stat.rpartition(") ")[2].split()  # a process may have a parenthesis in its name
    if len(fields) < 20:
        raise ValueError("has no starttime")
    return int(fields[19])


def read_proc(name: str) -> str:
    """First 64 KiB of a file of /proc, with surrogates for bytes that are not UTF-8."""
    with open(f"/proc/{name}", "rb", buffering=0) as file:
        return (file.read(_LIMIT) or b"").decode(errors="surrogateescape")


_UNIT = re.compile(
    r"^\d+:(?:name=systemd)?:/(?:[^\n]*/)?([A-Za-z0-9@:._-]{1,100}\.service)(?:/(?:libpod|docker)[^\n]*)?$",
    re.MULTILINE,
)


def parse_unit(cgroup: str) -> str:
    """The systemd unit that proc_pid_cgroup(5) names. *Errors*: ValueError outside of any service."""
    found = _UNIT.search(cgroup)
    if not found:
        raise ValueError("belongs to no service of systemd")
    return found[1]
