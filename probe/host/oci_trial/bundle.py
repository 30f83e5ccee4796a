"""Preparation of the OCI runtime trial on the node: a bundle, its directory, and a cgroup with a fixed name."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from msgspec import Struct

from probe.host import syscalls
from probe.host.idmap import FIRST_HOST_ID, MAP_LENGTH
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo

CGROUP = "userns-probe-trial"
"""Name of the container's cgroup, right below the root of each hierarchy."""
KUBELET_ROOT, TMPFS, CONTROL = "kubelet root", "tmpfs", "control"
DESTINATIONS = {KUBELET_ROOT: "/kubelet-root", TMPFS: "/memory", CONTROL: "/control"}
"""Mount points of bind mounts in the container; `control` is the tmpfs again, never idmapped."""

_CGROUP_ROOT = "/sys/fs/cgroup"
_PLACES = ("/run", "/tmp", "/mnt", "/srv", "/media", "/home")  # noqa: S108 - covered in a namespace of our own
_NAMESPACES = ("mount", "pid", "ipc", "uts", "network", "cgroup")
_PROGRAM = "/program"
_MS_UNBINDABLE = 1 << 17
_LOCK_PAUSE = 0.05


class Bundle(Struct, frozen=True):
    """A container, complete or with less of what is on trial."""

    name: str
    user_namespace: bool
    mapped: tuple[str, ...]
    """The bind mounts that get a mapping; the others are made without one."""


BUNDLES = (
    Bundle("complete", True, (KUBELET_ROOT, TMPFS)),
    Bundle("without a mapping of the tmpfs", True, (KUBELET_ROOT,)),
    Bundle("without a mapping of the kubelet root", True, (TMPFS,)),
    Bundle("without mappings of mounts", True, ()),
    Bundle("without a user namespace", False, ()),
)
"""The first is the trial. When it fails, the first of the others that can be made shows the cause."""


def choose_place(*needed: str) -> str:
    """A directory of the node that can be covered without hiding one of the paths that are *needed*.

    *Errors*: ValueError when there is none.
    """
    for place in _PLACES:
        with suppress(OSError):
            if stat.S_ISDIR(os.lstat(place).st_mode) and not any(f"{path}/".startswith(f"{place}/") for path in needed):
                return place
    raise ValueError("finds no directory that it may cover")


def is_unbindable(path: str) -> bool:
    """True when mountinfo marks the mount of *path*, without symlinks, as unbindable.

    A copy of the mount table may not: Linux 6.18 forgets it there. *Source*: proc_pid_mountinfo(5).
    """
    with open("/proc/self/mountinfo", "rb") as file:
        mount = MountTable(parse_mountinfo(file.read())).mount_of(path)
    return mount is not None and "unbindable" in mount.propagation


def lay_out(place: str, kubelet_root: str, unbindable: bool) -> dict[str, str]:
    """Mount the private file systems and make the root of the container; the source of each bind mount.

    For a mount namespace of our own. The program of the container is an empty file: the runtimes look whether it may
    be executed, and nothing could be.
    """
    syscalls.mount(CGROUP, place, "tmpfs", 0, "mode=0711,size=4m,nr_inodes=1k")
    for name, options in (("memory", "mode=0755,size=64k"), ("said", "mode=0700,size=256k")):
        os.mkdir(f"{place}/{name}")
        syscalls.mount(CGROUP, f"{place}/{name}", "tmpfs", 0, options)
    os.mkdir(f"{place}/root")
    with open(f"{place}/root{_PROGRAM}", "x") as program:
        os.fchmod(program.fileno(), 0o755)
    for path in (f"{place}/root", f"{place}/root{_PROGRAM}"):
        os.chown(path, FIRST_HOST_ID, FIRST_HOST_ID)
    _bind(kubelet_root, f"{place}/kubelet-root", unbindable)
    return {KUBELET_ROOT: f"{place}/kubelet-root", TMPFS: f"{place}/memory", CONTROL: f"{place}/memory"}


def _bind(source: str, target: str, unbindable: bool) -> None:
    """Bind the top mount alone: the volumes of Pods below it are locked in a container, and would have to come along.

    So the container holds the kubelet's file system and no volume, which can be unmounted meanwhile.
    """
    if os.path.isdir(source):
        os.mkdir(target)
    else:
        open(target, "x").close()
    syscalls.mount(source, target, None, syscalls.MS_BIND)
    if unbindable:
        syscalls.mount("none", target, None, _MS_UNBINDABLE)


def write_config(place: str, bundle: Bundle, sources: dict[str, str]) -> None:
    """Make *place* the bundle directory of that container. *Source*: config.md and config-linux.md of the OCI."""
    with open(f"{place}/config.json", "w") as file:
        json.dump(_config(bundle, sources), file)


def _config(bundle: Bundle, sources: dict[str, str]) -> dict[str, Any]:
    mapping = [{"containerID": 0, "hostID": FIRST_HOST_ID, "size": MAP_LENGTH}]
    mappings = {"uidMappings": mapping, "gidMappings": mapping}
    volumes: list[dict[str, Any]] = [
        {
            "destination": destination,
            "type": "bind",
            "source": sources[name],
            "options": ["bind", "rprivate", "ro" if name == KUBELET_ROOT else "rw"],
            **(mappings if name in bundle.mapped else {}),  # as containerd and CRI-O ask for it: no option `idmap`
        }
        for name, destination in DESTINATIONS.items()
    ]
    namespaces = ("user", *_NAMESPACES) if bundle.user_namespace else _NAMESPACES
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": [_PROGRAM],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
        },
        "root": {"path": "root"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            *volumes,
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in namespaces],
            "cgroupsPath": f"/{CGROUP}",  # absolute: made by the runtime itself, without systemd
            **(mappings if bundle.user_namespace else {}),
        },
    }


def mount_own_proc(place: str, covered: bool) -> None:
    """Mount /proc of our own PID namespace over the node's.

    It would allow the container a /proc where the node's, *covered* in parts, forbids it; so then it is covered too.
    *Source*: mount_too_revealing in fs/namespace.c.
    """
    syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NOEXEC | syscalls.MS_NODEV)
    if covered:
        _bind_file(f"{place}/version", "covered\n", "/proc/version")


def protect_cgroup_root(place: str) -> None:
    """Keep runtimes from switching on controllers for the whole node, which would outlast the container.

    They write to cgroup.subtree_control of the root whether they need a controller or not; now it is a file of ours.
    """
    for number, hierarchy in enumerate(_hierarchies()):
        path = f"{hierarchy}/cgroup.subtree_control"
        if os.path.exists(path):
            with open(path) as control:
                _bind_file(f"{place}/subtree_control-{number}", control.read(), path)


def _bind_file(source: str, content: str, target: str) -> None:
    with open(source, "x") as file:
        file.write(content)
    syscalls.mount(source, target, None, syscalls.MS_BIND)


@contextmanager
def sole_trial(directory: str = _CGROUP_ROOT, until: float = 0.0) -> Iterator[bool]:
    """Lock *directory*; yields False when another trial holds it still at *until* (time.monotonic()).

    The lock lasts as long as the context. It ends with the processes that have its descriptor, and leaves nothing
    behind.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not (alone := _lock(fd)) and time.monotonic() < until:
            time.sleep(_LOCK_PAUSE)
        yield alone
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sweep_trial_cgroups() -> bool:
    """Remove what a trial that was killed has left behind; False when it is still there.

    To be called in the node's mount namespace, whenever a probe starts. That of a trial under way is left alone.
    """
    try:
        if not _left(CGROUP):
            return True
        with sole_trial() as alone:
            return alone and remove_cgroups(0.0)
    except OSError:
        return False


def remove_cgroups(timeout: float, name: str = CGROUP) -> bool:
    """Remove the trial's cgroup *name* from each hierarchy; False when one is still there after *timeout* seconds.

    Only rmdir(2), which takes none that has a process in it: whoever lives there, nobody is ended.
    """
    deadline = time.monotonic() + timeout
    while left := _left(name):
        for path in left:
            for directory, _, _ in os.walk(path, topdown=False):
                with suppress(OSError):
                    os.rmdir(directory)
        if time.monotonic() > deadline:
            return not _left(name)
        time.sleep(0.002)
    return True


def end_cgroup(name: str) -> None:
    """End every process in the trial's cgroup *name*, whatever PID namespace it is in, where a hierarchy can do that.

    *Source*: `cgroup.kill` of cgroup v2, since Linux 5.14.
    """
    for hierarchy in _hierarchies():
        with suppress(OSError), open(f"{hierarchy}/{name}/cgroup.kill", "w") as file:
            file.write("1")


def _left(name: str) -> list[str]:
    return [path for hierarchy in _hierarchies() if os.path.isdir(path := f"{hierarchy}/{name}")]


def _hierarchies() -> list[str]:
    """The root of cgroup v2, or of each hierarchy where version 1 is mounted below /sys/fs/cgroup."""
    if os.path.exists(f"{_CGROUP_ROOT}/cgroup.controllers"):
        return [_CGROUP_ROOT]
    below = (entry.path for entry in os.scandir(_CGROUP_ROOT) if entry.is_dir(follow_symlinks=False))
    return [path for path in below if os.path.exists(f"{path}/cgroup.procs")]
