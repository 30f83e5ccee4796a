"""Files and folders that each container with a user namespace needs of the node."""

from __future__ import annotations

import os
import stat

from probe.checks.check import Check, Outcome
from probe.checks.remedies.around import AROUND
from probe.checks.remedies.platforms import inline, quoted
from probe.checks.runtime.around import (
    daemon_of,
    first_problem,
    is_closed,
    is_containerd,
    is_unclear,
    mode_of,
    oci_runtime_of,
    surroundings_of,
    told_by,
    worst,
)
from probe.checks.runtime.names import runtime_name, snapshotter_of
from probe.facts.around import Place
from probe.facts.model import Facts
from probe.finding import Evidence
from probe.reading import Reading

_DEVICES = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
"""*Source*: Linux allocated devices, Documentation/admin-guide/devices.txt."""
_READ_AND_WRITE = 0o006


def check_state(facts: Facts, handler: str) -> Outcome:
    """Runc makes the root file system private as the Pod's own root; crun does it before it is that."""
    around, what = surroundings_of(facts), "whether Pods reach the runtime's state"
    if around.value is None:
        return Outcome.not_read(what, around)
    if not is_containerd(facts):
        return Outcome.skipped("only containerd leaves the folders above its containers as they are", told_by(facts))
    if around.value.state.value is None:
        return Outcome.not_read(what, around.value.state)
    way = around.value.state.value
    closed = [place for place in way if place.value and is_closed(place.value)]
    seen = [mode_of(place.value, place.source) for place in closed or way if place.value]
    sure = [place for place in closed if place.value and not is_unclear(place.value)]
    oci = oci_runtime_of(facts, handler)
    if oci == "crun":
        sure, closed = ([each for each in found if each.source == "/"] for found in (sure, closed))
    if sure and (oci in ("runc", "crun") or sure[0].source == "/"):
        names = ", ".join(inline(place.source) for place in sure)
        remediation = "Let others search, and not list, these folders:\n  chmod o+x " + " ".join(
            quoted(place.source) for place in sure
        )
        message = f"a Pod's own root may not search {names}, so it cannot reach its root file system"
        return Outcome.fail("StateNotSearchable", message, *seen, remediation=remediation)
    if closed:
        why = (
            "its access control list or owner may let Pods through" if not sure else "of this OCI runtime nobody knows"
        )
        return Outcome.unknown("not-readable", f"whether Pods may search {closed[0].source} is unknown: {why}", *seen)
    if problem := first_problem(way):
        return Outcome.not_read(what, problem)
    return Outcome.passed("others may search each folder above the containers", *seen)


def check_temporary(facts: Facts, handler: str) -> Outcome:
    """Since 2.0 containerd's shim makes a directory there for the idmapped layers of each container."""
    around, what = surroundings_of(facts), "whether containerd can make temporary directories"
    if around.value is None:
        return Outcome.not_read(what, around)
    snapshotter = snapshotter_of(facts, handler)
    if not is_containerd(facts, (2, 0, 0)) or snapshotter.value not in (None, "overlayfs"):
        return Outcome.skipped(
            "only containerd 2 with overlayfs makes temporary directories for layers", told_by(facts)
        )
    found = around.value.temporary
    if found.value is None and found.kind != "absent":
        return Outcome.not_read(what, found)
    broken = _why_no_directory(found.value)
    if broken and snapshotter.value is None:
        return Outcome.not_read("whether layers are mapped by overlayfs", snapshotter)
    if broken:
        message = f"containerd makes a directory for each container's layers in {inline(found.source)}, which {broken}"
        return Outcome.fail("TemporaryDirectoryUnusable", message, _place(found, broken))
    return Outcome.passed(f"containerd can make temporary directories in {inline(found.source)}", _place(found, "well"))


def _why_no_directory(place: Place | None) -> str:
    if place is None:
        return "does not exist"
    if not stat.S_ISDIR(place.mode):
        return "is no directory"
    if place.read_only:
        return "is read-only"
    return "has no free inode" if place.full else ""


_LEAST = {"runtime's state": (8 << 10, 4), "runtime's root": (16 << 10, 8), "kubelet's root": (4 << 10, 4)}
"""Bytes and inodes without which no Pod starts. In the runtime's root a sandbox alone needs a directory and three files
of its own, and four directories of its layer; in its state a bundle of two directories and two files; in the kubelet's
root three directories and the file `userns`.
*Source*: containerd, internal/cri/server (sandbox_run.go) and plugins/snapshots/overlay; kubelet, makePodDataDirs.
"""
_ONE_FILE = (1, 1)
_AMPLE = (1 << 20, 64)
"""With less a Pod may start or not."""


def _place(found: Reading[Place], words: str) -> Reading[Place] | Evidence:
    return Evidence(found.source, words) if found.value else found


def check_devices(facts: Facts, handler: str) -> Outcome:
    """In a user namespace no device node can be made, so those of the node are bound."""
    around = surroundings_of(facts)
    if around.value is None:
        return Outcome.not_read("which device nodes the runtime has", around)
    wrong: dict[str, str] = {}
    weak: dict[str, str] = {}
    looked_at = {found.source: found for found in around.value.devices}
    for name, number in _DEVICES.items():
        found = looked_at.get(f"/dev/{name}", Reading.without(f"/dev/{name}", "not-tried", "not looked at"))
        if found.value is None and found.kind != "absent":
            return Outcome.not_read("which device nodes the runtime has", found)
        if found.value is None or found.value.device != number or not stat.S_ISCHR(found.value.mode):
            wrong[found.source] = "is not there" if found.value is None else f"is no device {number}"
        elif found.value.flags & os.ST_NODEV:
            weak[found.source] = "lies on a mount with nodev"
        elif found.value.mode & _READ_AND_WRITE != _READ_AND_WRITE:
            weak[found.source] = f"has mode {found.value.mode & 0o777:04o}"
    seen = [Evidence(path, why) for path, why in (wrong | weak).items()]
    if wrong:
        message = f"{_words(wrong)}, and each container with a user namespace gets it from the node"
        return Outcome.fail("DeviceMissing", message, *seen)
    oci = oci_runtime_of(facts, handler)
    if "/dev/null" in weak and (oci == "runc" or (oci == "crun" and "has mode" in weak["/dev/null"])):
        message = f"{_words(weak)}: {oci} opens /dev/null as the Pod's own root, which may not"
        return Outcome.fail("DeviceMissing", message, *seen)
    if weak:
        return Outcome.warn(f"{_words(weak)}: programs in Pods cannot open it", *seen)
    return Outcome.passed(
        "the runtime has the six device nodes of each container", Evidence("/dev", "six device nodes")
    )


def _words(wrong: dict[str, str]) -> str:
    return ", ".join(f"{path} {why}" for path, why in wrong.items())


def check_space(facts: Facts) -> Outcome:
    """Each Pod needs directories of its own in all of these."""
    around = surroundings_of(facts)
    if around.value is None:
        return Outcome.not_read("whether the runtime can write its files", around)
    kubelet = facts.kubelet_around.value
    found = [
        ("runtime's state", around.value.state_dir),
        ("runtime's root", around.value.root_dir),
        *([("kubelet's root", kubelet.root_dir), ("Pods' log", kubelet.logs_dir)] if kubelet else []),
        ("networks' cache", around.value.cni_cache),
    ]
    seen, scarce = [], ""
    for name, reading in found:
        place = reading.value
        if place is None:
            continue
        why = "is on a read-only mount" if place.read_only else _lacks(place, *_LEAST.get(name, _ONE_FILE))
        if why:
            message = f"the {name} directory {inline(reading.source)} {why}, so no Pod can start"
            return Outcome.fail("DirectoryNotWritable", message, Evidence(reading.source, why))
        few = _lacks(place, *_AMPLE)
        scarce = scarce or (few and f"the {name} directory {inline(reading.source)} {few}: Pods may fail to start")
        seen.append(Evidence(reading.source, f"{place.free_bytes} bytes, {place.free_inodes} inodes free"))
    unread = next((reading for _, reading in found if reading.value is None and reading.kind != "not-tried"), None)
    if unread is not None:
        return Outcome.not_read("whether the runtime can write its files", unread, *seen)
    if scarce:
        return Outcome.warn(scarce, *seen)
    return Outcome.passed("runtime and kubelet can write where they keep Pods", *seen)


def _lacks(place: Place, least_bytes: int, least_inodes: int) -> str:
    """What *place* has too little of; empty when it has both, or does not count them."""
    if place.inodes > 0 and place.free_inodes < least_inodes:
        return f"has {place.free_inodes} free inodes" if place.free_inodes else "has no free inode"
    if place.size > 0 and place.free_bytes < least_bytes:
        return f"has {place.free_bytes} bytes left" if place.free_bytes else "has no free space"
    return ""


def check_umask(facts: Facts) -> Outcome:
    """Containerd mounts image layers at directories that it makes under its own umask."""
    umask = daemon_of(facts).then(lambda daemon: daemon.umask)
    if umask.value is None:
        return Outcome.not_read("the umask of the runtime", umask)
    seen = Evidence(umask.source, f"Umask {umask.value:04o}")
    name = runtime_name(facts.runtime.value) if facts.runtime.value else "the runtime"
    if not umask.value & 0o001:
        return Outcome.passed(f"{name} makes directories that others may search", seen)
    message = f"{name} runs with umask {umask.value:04o}, so it makes directories that a Pod's own root may not search"
    if is_containerd(facts):
        return Outcome.fail("UmaskTooStrict", message, seen)
    return Outcome.warn(f"{message}; what that does to Pods is not known", seen)


def check_directories(facts: Facts, handler: str) -> Outcome:
    """Temporary directories, the umask, and room."""
    return worst(
        {
            "TemporaryDirectoryUnusable": check_temporary(facts, handler),
            "UmaskTooStrict": check_umask(facts),
            "DirectoryNotWritable": check_space(facts),
        }
    )


CHECKS = (
    Check(
        id="runtime-state-search",
        level="stateless",
        gating=True,
        question="May a Pod's own root search each folder above its root file system?",
        why="Root of a Pod with a user namespace is one of the others for the node. runc needs to find the container's "
        "root file system as that root: a folder with mode 0700 on the way stops each such Pod, and no other.",
        reasons=("StateNotSearchable",),
        remediation=AROUND["runtime-state-search"],
        documentation="path_resolution(7), https://github.com/containerd/containerd/issues/6040",
        check=lambda facts: check_state(facts, ""),
        per_handler=check_state,
    ),
    Check(
        id="runtime-devices",
        level="stateless",
        gating=False,
        question="Does the node have the device nodes that each container gets?",
        why="For other Pods the runtime makes null, zero, full, random, urandom and tty itself. In a user namespace "
        "mknod(2) is refused, so the node's own are bound, and a missing one stops the Pod.",
        reasons=("DeviceMissing",),
        remediation=AROUND["runtime-devices"],
        documentation="OCI runtime specification, config-linux.md, Default Devices; user_namespaces(7)",
        check=lambda facts: check_devices(facts, ""),
        per_handler=check_devices,
    ),
    Check(
        id="runtime-directories",
        level="stateless",
        gating=False,
        question="Can the runtime make the directories that each container needs?",
        why="Each Pod needs directories in the runtime's state and root, below the kubelet's root and for logs, and a "
        "file of libcni. containerd 2 makes another one in $TMPDIR or /tmp for idmapped layers, and under a umask such "
        "as 027 it mounts layers where a Pod's own root may not look: then Pods with a user namespace fail, and others "
        "run.",
        reasons=("TemporaryDirectoryUnusable", "UmaskTooStrict", "DirectoryNotWritable"),
        remediation=AROUND["runtime-directories"],
        documentation="statvfs(3), umask(2), systemd.exec(5); containerd, core/mount/mount_linux.go",
        check=lambda facts: check_directories(facts, ""),
        per_handler=check_directories,
    ),
)
