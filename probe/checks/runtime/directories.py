"""Directories in which runtime and kubelet make what each Pod needs."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from probe.checks.check import Check, Outcome
from probe.checks.remedies.around import AROUND
from probe.checks.remedies.platforms import inline
from probe.checks.runtime.around import (
    SYS_RESOURCE,
    daemon_of,
    handler_around,
    is_containerd,
    lacks_room,
    oci_runtime_of,
    of_containerd_alone,
    surroundings_of,
    why_nothing_is_made,
    worst,
)
from probe.checks.runtime.names import no_kubelet, runtime_name, snapshotter_of
from probe.checks.runtime.volumes import check_shared
from probe.facts.around import Place
from probe.facts.model import Facts
from probe.finding import Evidence
from probe.reading import Reading, problem_of

_LEAST = {
    "runtime's state": (8 << 10, 4),
    "runtime's root": (16 << 10, 8),
    "kubelet's root": (4 << 10, 4),
}
"""Bytes and inodes without which no Pod starts. In the runtime's root a sandbox alone needs a directory and three files
of its own, and four directories of its layer; in its state a bundle of two directories and two files; in the kubelet's
root three directories and the file `userns`.
*Source*: containerd, internal/cri/server (sandbox_run.go) and plugins/snapshots/overlay; kubelet, makePodDataDirs.
"""
_HIERARCHIES = ("cpu", "devices")
_HIERARCHIES_OF = {"crun": ("cpuset",)}
"""Controllers of cgroup v1: seen with runc 1.3.6 and crun 1.28, which fail without these and run without others."""
_SMALL_FILE = 4096
"""Bytes: /etc/hosts of a Pod, and the kubelet's own state, are hardly smaller."""
_RENAMED_IN = "/snapshots"
"""Where the snapshotter gives each layer its name once it is made. *Source*: containerd, plugins/snapshots/overlay."""
_ONE_FILE = (1, 1)
_RAISE_CGROUPS = (
    "Raise the limit in that file and in those of the cgroups above it, or remove it where it is set:\n"
    "  grep -H . /sys/fs/cgroup/{,kubepods*/}cgroup.max.{descendants,depth}"
)
_THAW = "Thaw the cgroup:\n  for each in /sys/fs/cgroup/kubepods*/cgroup.freeze; do echo 0 > $each; done"
_AMPLE = (1 << 20, 64)
"""With less a Pod may start or not."""


def check_temporary(facts: Facts, handler: str) -> Outcome:
    """Since 2.0 containerd's shim makes a directory there for the idmapped layers of each container."""
    around, what = surroundings_of(facts), "whether containerd can make temporary directories"
    if around.value is None:
        return Outcome.not_read(what, around)
    snapshotter = snapshotter_of(facts, handler)
    if not is_containerd(facts, (2, 0, 0)) or snapshotter.value not in (None, "overlayfs"):
        message = "only containerd 2 with overlayfs makes temporary directories for layers"
        return of_containerd_alone(facts, what, message)
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
    return why_nothing_is_made(place) or ("has no free inode" if place.full else "")


def _place(found: Reading[Place], words: str) -> Reading[Place] | Evidence:
    return Evidence(found.source, words) if found.value else found


def check_space(facts: Facts, handler: str) -> Outcome:
    """The runtime needs room for each Pod in its state and root, for a file of libcni, and for cgroups."""
    around, what = surroundings_of(facts), "whether the runtime can write its files"
    if around.value is None:
        return Outcome.not_read(what, around)
    cgroups = around.value.cgroups
    if all(cgroup.kind == "absent" for cgroup in cgroups):
        message = "no cgroup hierarchy is mounted in the runtime's mount namespace, so no Pod can start"
        return Outcome.fail("DirectoryNotWritable", message, *cgroups)
    if gone := _missing_hierarchies(facts, handler):
        message = f"the cgroup hierarchy {gone} is not mounted in the runtime's mount namespace, so no Pod can start"
        return Outcome.fail("DirectoryNotWritable", message, Evidence(facts.mounts.source, f"not mounted: {gone}"))
    limit = around.value.cgroups_full
    if limit.value:
        message = f"no cgroup can be made for a further Pod: the limit in {limit.source} is reached"
        full = Outcome.fail("DirectoryNotWritable", message, limit, remediation=_RAISE_CGROUPS)
        return replace(full, stands=True)  # a trial has a cgroup of its own
    if around.value.frozen.value:
        message = "the cgroup of all Pods is frozen, so no program of a Pod runs"
        frozen = Outcome.fail("DirectoryNotWritable", message, around.value.frozen, remediation=_THAW)
        return replace(frozen, stands=True)
    oci, own = oci_runtime_of(facts, handler), handler_around(facts, handler)
    pods = facts.mounts.value.pods_options if facts.mounts.value else problem_of(facts.mounts)
    if pods.value and "ro" in pods.value and oci == "runc":
        message = (
            f"{inline(pods.source)} is read-only in the runtime's mount namespace, and runc binds files there writable"
        )
        return replace(Outcome.fail("DirectoryNotWritable", message, pods.parse(", ".join)), stands=True)
    logs = ("containers' log", around.value.logs_dir)
    held = daemon_of(facts).then(lambda daemon: daemon.effective_capabilities)
    logged = _judge_room("DirectoryNotWritable", what, [logs], held)
    if logged.status == "fail":  # a trial's containers keep no log, and its mounts are read-only
        return replace(logged, stands=True)
    found = (
        ("runtime's state", around.value.state_dir),
        ("runtime's root", around.value.root_dir),
        ("networks' cache", around.value.cni_cache),
        logs,
        *(("runtime's", folder) for folder in around.value.folders),
        *([("OCI runtime's", own.oci_root)] if own and own.oci_root.kind != "absent" else []),
        *(("cgroup", cgroup) for cgroup in cgroups),
    )
    return _judge_room("DirectoryNotWritable", what, found, held)


def _missing_hierarchies(facts: Facts, handler: str) -> str:
    """Hierarchies without which the OCI runtime of *handler* makes no container; empty when all are mounted."""
    mounts, version = facts.mounts.value, facts.kernel.cgroup_version.value
    if mounts is None or facts.probe.entered.value is not True:
        return ""
    if version == 2:
        mounted = mounts.cgroup2_options is not None or mounts.cgroup_controllers
        return "" if mounted else "cgroup2 on /sys/fs/cgroup"
    needed = [*_HIERARCHIES, *_HIERARCHIES_OF.get(oci_runtime_of(facts, handler), ())] if version == 1 else ()
    return ", ".join(name for name in needed if name not in mounts.cgroup_controllers)


def check_kubelet_space(facts: Facts) -> Outcome:
    """The kubelet makes two directories for each Pod before it asks the runtime for anything."""
    around, what = facts.kubelet_around, "whether the kubelet can make the directories of Pods"
    if around.value is None:
        return no_kubelet(facts, what, around)
    limit = (around.value.limits.value or {}).get("RLIMIT_FSIZE")
    if limit and 0 <= limit.soft < _SMALL_FILE:
        message = f"the kubelet may not write files beyond {limit.soft} bytes, so it cannot make the files of Pods"
        return Outcome.fail(
            "KubeletDirectoryNotWritable", message, Evidence(around.value.limits.source, str(limit.soft))
        )
    found = (
        ("kubelet's root", around.value.root_dir),
        ("Pods'", around.value.pods_dir),
        ("Pods' log", around.value.logs_dir),
    )
    return _judge_room("KubeletDirectoryNotWritable", what, found, around.value.effective_capabilities)


def _judge_room(
    reason: str, what: str, found: Sequence[tuple[str, Reading[Place]]], capabilities: Reading[int]
) -> Outcome:
    """Fail with *reason* where one of these directories has no room for any Pod, and warn where it is scarce.

    *capabilities* are those of the process that writes there: by CAP_SYS_RESOURCE it may exceed the quota of a project.
    """
    may_exceed = capabilities.value is None or bool(capabilities.value >> SYS_RESOURCE & 1)
    seen, scarce = [], ""
    for name, reading in found:
        place = reading.value
        if place is None:
            continue
        lacks = lacks_room(place, *_LEAST.get(name, _ONE_FILE))
        exceeds = bool(lacks) and place.project and may_exceed
        why = why_nothing_is_made(place) or ("" if exceeds else lacks)
        if place.append_only and place.path.endswith(_RENAMED_IN):
            why = why or "is append-only (chattr +a)"
        if why:
            message = f"the {name} directory {inline(reading.source)} {why}, so no Pod can start"
            return Outcome.fail(reason, message, Evidence(reading.source, why))
        few = lacks_room(place, *_AMPLE)
        few = few and f"{few} by its project's quota" if place.project else few
        scarce = scarce or (few and f"the {name} directory {inline(reading.source)} {few}: Pods may fail to start")
        seen.append(Evidence(reading.source, f"{place.free_bytes} bytes, {place.free_inodes} inodes free"))
    unread = next((reading for _, reading in found if reading.value is None and reading.kind != "not-tried"), None)
    if unread is not None:
        return Outcome.not_read(what, unread, *seen)
    if scarce:
        return Outcome.warn(scarce, *seen)
    return Outcome.passed("there is room for the directories of Pods", *seen)


def check_umask(facts: Facts) -> Outcome:
    """Containerd mounts image layers at directories that it makes under its own umask."""
    umask = daemon_of(facts).then(lambda daemon: daemon.umask)
    if umask.value is None:
        return Outcome.not_read("the umask of the runtime", umask)
    seen = Evidence(umask.source, f"Umask {umask.value:04o}")
    name = runtime_name(facts.runtime.value) if facts.runtime.value else "the runtime"
    if not umask.value & 0o001:
        return Outcome.passed(f"{name} makes directories that other users may search", seen)
    message = f"{name} runs with umask {umask.value:04o}, so it makes directories that a Pod's own root may not search"
    if is_containerd(facts):
        return Outcome.fail("UmaskTooStrict", message, seen)
    return Outcome.warn(f"{message}; the effect on Pods is not known", seen)


def check_directories(facts: Facts, handler: str) -> Outcome:
    """The most serious outcome of the checks of temporary directories, the umask, and room."""
    return worst(
        {
            "KubeletDirectoryNotWritable": check_kubelet_space(facts),
            "KubeletDirectoryHidden": check_shared(facts),
            "TemporaryDirectoryUnusable": check_temporary(facts, handler),
            "UmaskTooStrict": check_umask(facts),
            "DirectoryNotWritable": check_space(facts, handler),
        }
    )


CHECKS = (
    Check(
        id="runtime-directories",
        level="stateless",
        gating=False,
        question="Can kubelet and runtime make the directories that each Pod needs?",
        why="Each Pod needs directories in the runtime's state and root, below the kubelet's root and for logs. "
        "libcni keeps a file of it, and each container has a cgroup. containerd 2 "
        "makes another one in $TMPDIR or /tmp for idmapped layers, and under a umask such as 027 it mounts layers "
        "where a Pod's own root may not look: then Pods with a user namespace fail, and others run.",
        reasons=(
            "KubeletDirectoryNotWritable",
            "KubeletDirectoryHidden",
            "TemporaryDirectoryUnusable",
            "UmaskTooStrict",
            "DirectoryNotWritable",
        ),
        remediation=AROUND["runtime-directories"],
        documentation="statvfs(3), umask(2), systemd.exec(5); containerd, core/mount/mount_linux.go",
        check=lambda facts: check_directories(facts, ""),
        per_handler=check_directories,
    ),
)
