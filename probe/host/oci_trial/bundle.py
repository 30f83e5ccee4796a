"""Preparation of the OCI runtime trial on the node: bundles of its containers, and the directory that holds them."""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import Any

from msgspec import Struct

from probe.host import syscalls
from probe.host.idmap import FIRST_HOST_ID, MAP_LENGTH
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo
from probe.host.oci_trial.cgroup import CGROUP, hierarchies

KUBELET_ROOT, TMPFS, CONTROL = "kubelet root", "tmpfs", "control"
DESTINATIONS = {KUBELET_ROOT: "/kubelet-root", TMPFS: "/memory", CONTROL: "/control"}
"""Mount points of bind mounts in the container; `control` is the tmpfs again, never idmapped."""

_PLACES = ("/run", "/tmp", "/mnt", "/srv", "/media", "/home")  # noqa: S108 - covered in a namespace of our own
_NAMESPACES = ("mount", "pid", "ipc", "uts", "network", "cgroup")
_PROGRAM = "/program"
_MS_UNBINDABLE = 1 << 17


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
    for number, hierarchy in enumerate(hierarchies()):
        path = f"{hierarchy}/cgroup.subtree_control"
        if os.path.exists(path):
            with open(path) as control:
                _bind_file(f"{place}/subtree_control-{number}", control.read(), path)


def _bind_file(source: str, content: str, target: str) -> None:
    with open(source, "x") as file:
        file.write(content)
    syscalls.mount(source, target, None, syscalls.MS_BIND)
