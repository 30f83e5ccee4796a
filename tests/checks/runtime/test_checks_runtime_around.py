"""Checks of what surrounds the runtime's daemon: what stops each Pod fails, for the handlers that it stops."""

from __future__ import annotations

import os
import stat
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from lab.factory import (
    ALL_CAPABILITIES,
    absent,
    make_attempt,
    make_attempts,
    make_daemon,
    make_devices,
    make_facts,
    make_handler,
    make_handler_around,
    make_hooks,
    make_kernel,
    make_keys,
    make_kubelet,
    make_kubelet_around,
    make_mounts,
    make_pipes,
    make_place,
    make_probe,
    make_runtime,
    make_surroundings,
    unread,
)
from probe.checks.catalog import find, judge
from probe.facts.around import NO_PLACE, Added, AddedDevice, AddedMount, Hook, Limit, Place, Propagation
from probe.facts.model import DropIn, Facts, HookFiles
from probe.facts.runtime.limits import NAMES
from probe.facts.runtime.model import Cni
from probe.facts.tried import HandlerTrial, PodTrialFacts
from probe.host.cri import CriCondition
from probe.reading import Reading
from probe.verdict import conclude

OWN = (
    "runtime-state-search",
    "runtime-directories",
    "runtime-devices",
    "runtime-limits",
    "runtime-parts",
    "runtime-base-spec",
    "kubelet-confinement",
    "runtime-mount-propagation",
)


JUDGED = ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_STACK")


def limits(**soft: int) -> dict[str, Limit]:
    """Limits of a process, generous where nothing is said."""
    told = {f"RLIMIT_{name}": Limit(number, number) for name, number in soft.items()}
    return dict.fromkeys(NAMES, Limit(-1, -1)) | told


def facts_with(oci: str = "runc", runtime: dict[str, Any] | None = None, **surroundings: Any) -> Facts:
    """A node whose default handler is *oci*, with these surroundings of the daemon."""
    handlers = Reading("CRI", (make_handler(oci_runtime=oci),))
    around = make_surroundings(**surroundings)
    return make_facts(runtime=make_runtime(handlers=handlers, surroundings=around, **(runtime or {})))


def status_of(check: str, facts: Facts) -> tuple[str, str]:
    """Status (pass where nothing is asked) and reason of one finding; a remedy stands with all that is not well."""
    finding = next(each for each in judge(facts) if each.id == check)
    assert bool(finding.remediation) == (finding.status not in ("pass", "skipped"))
    return "pass" if finding.status == "pass" else finding.status, finding.reason


@pytest.mark.parametrize("check", OWN)
def test_all_is_well(check: str) -> None:
    """Nothing is found on a usual node."""
    assert status_of(check, make_facts())[0] == "pass"


@pytest.mark.parametrize("check", OWN)
def test_what_was_not_read_is_no_pass(check: str) -> None:
    """A daemon whose surroundings could not be read is unknown, never well."""
    facts = make_facts(runtime=make_runtime(surroundings=unread()), kubelet_around=unread())
    status, reason = status_of(check, facts)
    assert (status, reason) in (("unknown", "NotPermitted"), ("pass", ""), ("pass", "")), check
    assert status == "unknown" or check in ("runtime-base-spec",)


def test_each_failure_decides_the_verdict() -> None:
    """A fail says that each Pod fails here, so the node is not ready."""
    facts = facts_with(devices=make_devices(full=absent("/dev/full")))
    concluded = conclude(judge(facts))
    assert (concluded.verdict, concluded.reason) == ("not-ready", "DeviceMissing")


@pytest.mark.parametrize(
    ("oci", "closed", "overrides", "expected"),
    [
        ("runc", "/run/containerd", {}, ("fail", "StateNotSearchable")),
        ("crun", "/run/containerd", {}, ("pass", "")),
        ("", "/run/containerd", {}, ("unknown", "NotReadable")),
        ("runc", "/", {}, ("fail", "StateNotSearchable")),
        ("crun", "/", {}, ("fail", "StateNotSearchable")),
        ("runc", "/run", {"acl": True}, ("unknown", "NotReadable")),
        ("runc", "/run", {"gid": 100_000}, ("unknown", "NotReadable")),
        ("runc", "/run", {"uid": 65536}, ("unknown", "NotReadable")),
        ("runc", "/run", {"uid": 65535}, ("fail", "StateNotSearchable")),
        ("runc", "/run", {"mode": 0o40711}, ("pass", "")),
    ],
)
def test_folders_above_the_state(oci: str, closed: str, overrides: dict[str, Any], expected: tuple[str, str]) -> None:
    """runc needs each of them as the Pod's own root; crun the root directory alone."""
    way = tuple(
        make_place(path, **({"mode": 0o40700} | overrides if path == closed else {}))
        for path in ("/", "/run", "/run/containerd")
    )
    oci_runtime: Any = oci or unread()
    assert status_of("runtime-state-search", facts_with(oci_runtime, state=way)) == expected


def test_a_folder_that_was_not_read() -> None:
    """One unread folder leaves the whole way unknown, and that decides the verdict."""
    facts = facts_with(state=(make_place("/"), unread("/run")))
    assert status_of("runtime-state-search", facts) == ("unknown", "NotPermitted")
    assert conclude(judge(facts)).verdict == "unknown"


@pytest.mark.parametrize(
    ("temporary", "runtime", "expected"),
    [
        (absent("/nowhere"), {}, ("fail", "TemporaryDirectoryUnusable")),
        (make_place("/tmp", flags=os.ST_RDONLY), {}, ("fail", "TemporaryDirectoryUnusable")),
        (make_place("/tmp", mode=0o100644), {}, ("fail", "TemporaryDirectoryUnusable")),
        (make_place("/tmp", free_inodes=0), {}, ("fail", "TemporaryDirectoryUnusable")),
        (make_place("/tmp", inodes=0, free_inodes=0), {}, ("pass", "")),
        (make_place("/tmp", mode=0o40700, free_bytes=0), {}, ("pass", "")),
        (absent("/nowhere"), {"version": "2.0.0"}, ("fail", "TemporaryDirectoryUnusable")),
        (absent("/nowhere"), {"version": "1.7.24"}, ("pass", "")),
        (absent("/nowhere"), {"name": "cri-o"}, ("pass", "")),
        (unread("/tmp"), {}, ("unknown", "NotPermitted")),
    ],
)
def test_temporary_directory(temporary: Any, runtime: dict[str, Any], expected: tuple[str, str]) -> None:
    """containerd 2 needs it for mapped layers, and others do not."""
    facts = facts_with(temporary=temporary, runtime=runtime)
    assert status_of("runtime-directories", facts) == expected


@pytest.mark.parametrize(
    ("temporary", "expected"),
    [(absent("/nowhere"), ("unknown", "NotPermitted")), (make_place("/tmp"), ("pass", ""))],
)
def test_temporary_directory_of_an_unknown_snapshotter(temporary: Any, expected: tuple[str, str]) -> None:
    """It may be another one than overlayfs, which needs none."""
    handlers = Reading("CRI", (make_handler(snapshotter=unread("config")),))
    around = make_surroundings(temporary=temporary)
    runtime = make_runtime(handlers=handlers, snapshotter=unread("config"), surroundings=around)
    assert status_of("runtime-directories", make_facts(runtime=runtime)) == expected


@pytest.mark.parametrize("name", ["null", "zero", "full", "random", "urandom", "tty"])
def test_a_device_that_is_missing_or_wrong(name: str) -> None:
    """Each of the six is needed; one that is another device is bound all the same, which runc looks at for null."""
    gone = make_devices(**{name: absent(f"/dev/{name}")})
    number = "1:9" if name != "urandom" else "1:8"
    other = make_devices(**{name: make_place(f"/dev/{name}", mode=0o20666, device=number)})
    file = make_devices(**{name: make_place(f"/dev/{name}", mode=0o100666)})
    refused = ("fail", "DeviceMissing") if name == "null" else ("warn", "")
    assert status_of("runtime-devices", facts_with(devices=other)) == refused
    assert status_of("runtime-devices", facts_with("crun", devices=other)) == ("warn", "")
    for devices in (gone, file):
        assert status_of("runtime-devices", facts_with(devices=devices)) == ("fail", "DeviceMissing")
    unknown = make_devices(**{name: unread(f"/dev/{name}")})
    assert status_of("runtime-devices", facts_with(devices=unknown)) == ("unknown", "NotPermitted")


@pytest.mark.parametrize(
    ("oci", "name", "overrides", "expected"),
    [
        ("runc", "null", {"mode": 0o20600}, ("fail", "DeviceMissing")),
        ("runc", "null", {"flags": os.ST_NODEV}, ("fail", "DeviceMissing")),
        ("crun", "null", {"mode": 0o20600}, ("fail", "DeviceMissing")),
        ("runc", "zero", {"mode": 0o20600}, ("warn", "")),
    ],
)
def test_a_device_that_pods_may_not_open(
    oci: str, name: str, overrides: dict[str, Any], expected: tuple[str, str]
) -> None:
    """runc opens /dev/null itself; the others fail where a program opens them."""
    place = make_place(f"/dev/{name}", **{"mode": 0o20666, "device": {"null": "1:3", "zero": "1:5"}[name]} | overrides)
    assert status_of("runtime-devices", facts_with(oci, devices=make_devices(**{name: place}))) == expected


@pytest.mark.parametrize(
    ("oci", "name", "expected"), [("", "containerd", "fail"), ("crun", "containerd", "fail"), ("crun", "cri-o", "warn")]
)
def test_dev_on_a_mount_with_nodev(oci: str, name: str, expected: str) -> None:
    """containerd's shim opens /dev/null, whatever OCI runtime it runs."""
    place = make_place("/dev/null", mode=0o20666, device="1:3", flags=os.ST_NODEV)
    facts = facts_with(oci, devices=make_devices(null=place), runtime={"name": name})
    assert status_of("runtime-devices", facts)[0] == expected


@pytest.mark.parametrize(
    ("oci", "dev", "expected"),
    [
        ("runc", {"mode": 0o40700}, "fail"),
        ("crun", {"mode": 0o40750}, "fail"),
        ("youki", {"mode": 0o40700}, "pass"),
        ("runc", {"mode": 0o40701}, "pass"),
        ("runc", {"mode": 0o40700, "acl": True}, "pass"),
    ],
)
def test_a_dev_that_pods_may_not_search(oci: str, dev: dict[str, Any], expected: str) -> None:
    """The devices are bound as the Pod's own root."""
    assert status_of("runtime-devices", facts_with(oci, dev=make_place("/dev", **dev)))[0] == expected


@pytest.mark.parametrize(
    ("umask", "name", "expected"),
    [
        (0o022, "containerd", ("pass", "")),
        (0o026, "containerd", ("pass", "")),
        (0o027, "containerd", ("fail", "UmaskTooStrict")),
        (0o077, "containerd", ("fail", "UmaskTooStrict")),
        (0o077, "cri-o", ("warn", "")),
    ],
)
def test_umask(umask: int, name: str, expected: tuple[str, str]) -> None:
    """The bit that lets others search decides."""
    facts = facts_with(daemon=make_daemon(umask=umask), runtime={"name": name})
    assert status_of("runtime-directories", facts) == expected


def test_cgroups() -> None:
    """Each container gets one, in each hierarchy of cgroup v1."""
    place, closed = make_place("/sys/fs/cgroup/pids"), make_place("/sys/fs/cgroup/memory", flags=os.ST_RDONLY)
    for cgroups, expected in (
        ((place, closed), "fail"),
        ((absent("/sys/fs/cgroup"),), "fail"),
        ((place, place), "pass"),
        ((unread("/sys/fs/cgroup"),), "unknown"),
    ):
        assert status_of("runtime-directories", facts_with(cgroups=cgroups))[0] == expected


@pytest.mark.parametrize(
    ("field", "overrides", "expected"),
    [
        ("state_dir", {"flags": os.ST_RDONLY}, "fail"),
        ("state_dir", {"free_bytes": 0}, "fail"),
        ("root_dir", {"free_inodes": 0}, "fail"),
        ("root_dir", {"free_inodes": 2}, "fail"),
        ("root_dir", {"free_inodes": 20}, "warn"),
        ("root_dir", {"free_bytes": 8192}, "fail"),
        ("root_dir", {"free_bytes": 1 << 19}, "warn"),
        ("cni_cache", {"flags": os.ST_RDONLY}, "fail"),
        ("cni_cache", {"mode": stat.S_IFLNK | 0o777}, "fail"),
        ("cni_cache", {"path": "/proc"}, "fail"),
        ("cni_cache", {"path": "/sys/kernel"}, "fail"),
        ("cni_cache", {"path": "/sys/fs/cgroup"}, "pass"),
        ("cni_cache", {"path": "/process"}, "pass"),
        ("cni_cache", {"free_inodes": 1}, "warn"),
        ("root_dir", {"inodes": 0, "free_inodes": 0}, "pass"),
        ("root_dir", {"size": 0, "free_bytes": 0}, "pass"),
    ],
)
def test_space(field: str, overrides: dict[str, Any], expected: str) -> None:
    """What cannot be written, or has no room for one Pod, stops each; a file system that counts none lacks none."""
    changed: dict[str, Any] = {field: make_place(**{"path": "/run/containerd"} | overrides)}
    facts = facts_with(**changed)
    assert status_of("runtime-directories", facts)[0] == expected


@pytest.mark.parametrize(
    ("oci", "hard", "soft", "expected"),
    [
        ("runc", 0, 16_384, ("pass", "")),
        ("runc", 1024, 16_384, ("pass", "")),
        ("runc", 16, 16_384, ("warn", "")),
        ("runc", 15, 16_384, ("fail", "PipeLimitTooSmall")),
        ("runc", 15, 0, ("fail", "PipeLimitTooSmall")),
        ("runc", 2, 1, ("warn", "")),
        ("runc", 1, 1, ("fail", "PipeLimitTooSmall")),
        ("crun", 1, 16_384, ("unknown", "NotTried")),
        ("crun", 0, 1, ("pass", "")),
    ],
)
def test_pages_of_pipes(oci: str, hard: int, soft: int, expected: tuple[str, str]) -> None:
    """As with real Pods: with a hard limit of 1 runc failed, and no program made a pipe; with a soft one all ran."""
    assert status_of("runtime-limits", facts_with(oci, pipes=make_pipes(hard, soft))) == expected


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (1 << 20, ("pass", "")),
        (1024, ("pass", "")),
        (1023, ("warn", "")),
        (1, ("warn", "")),
        (0, ("fail", "FileTableFull")),
        (-500, ("fail", "FileTableFull")),
        (absent("/proc/sys/fs/file-nr"), ("pass", "")),
        (unread("/proc/sys/fs/file-nr"), ("unknown", "NotPermitted")),
    ],
)
def test_the_files_of_the_whole_node(left: Any, expected: tuple[str, str]) -> None:
    """Root of the node may exceed fs.file-max, as with more files open than that; a Pod's own root may not."""
    assert status_of("runtime-limits", facts_with(files_left=left)) == expected


@pytest.mark.parametrize(
    ("place", "held", "expected"),
    [
        ({"free_bytes": 0, "project": True}, ALL_CAPABILITIES, "warn"),
        ({"free_inodes": 0, "project": True}, ALL_CAPABILITIES, "warn"),
        ({"free_bytes": 0, "project": True}, ALL_CAPABILITIES ^ 1 << 24, "fail"),
        ({"free_bytes": 0}, ALL_CAPABILITIES, "fail"),
        ({"flags": os.ST_RDONLY, "project": True}, ALL_CAPABILITIES, "fail"),
    ],
)
def test_the_quota_of_a_project(place: dict[str, Any], held: int, expected: str) -> None:
    """On ext4 root with CAP_SYS_RESOURCE exceeds it, though statvfs(2) says that nothing is left."""
    daemon = make_daemon(effective_capabilities=held)
    facts = facts_with(state_dir=make_place("/run/containerd", **place), daemon=daemon)
    assert status_of("runtime-directories", facts)[0] == expected
    kubelet = make_kubelet_around(root_dir=make_place("/var/lib/kubelet", **place), effective_capabilities=held)
    assert status_of("runtime-directories", make_facts(kubelet_around=kubelet))[0] == expected


@pytest.mark.parametrize(("path", "expected"), [("/x/snapshots", "fail"), ("/x", "pass")])
def test_folders_that_are_append_only(path: str, expected: str) -> None:
    """Nothing in them gets another name, and the snapshotter gives each layer its name once it is made."""
    assert status_of("runtime-directories", facts_with(folders=(make_place(path, append_only=True),)))[0] == expected


@pytest.mark.parametrize(
    ("oci", "options", "expected"),
    [
        ("runc", ("ro",), "fail"),
        ("runc", ("rw",), "pass"),
        ("crun", ("ro",), "pass"),
        ("runc", unread(), "pass"),
    ],
)
def test_a_read_only_mount_of_the_pods_directories(oci: str, options: Any, expected: str) -> None:
    """runc binds the files of Pods writable; crun as they are."""
    runtime = make_runtime(handlers=Reading("CRI", (make_handler(oci_runtime=oci),)))
    facts = make_facts(runtime=runtime, mounts=make_mounts(pods_options=options))
    assert status_of("runtime-directories", facts)[0] == expected


@pytest.mark.parametrize(
    ("field", "size", "inodes"),
    [("state_dir", 8 << 10, 4), ("root_dir", 16 << 10, 8), ("kubelet.root_dir", 4 << 10, 4), ("cni_cache", 1, 1)],
)
def test_the_least_room_of_a_directory(field: str, size: int, inodes: int) -> None:
    """From there on Pods may start, or not; with 1 MiB and 64 inodes there is room."""
    for resource, least, ample in (("free_bytes", size, 1 << 20), ("free_inodes", inodes, 64)):
        for number, expected in ((least - 1, "fail"), (least, "warn"), (ample - 1, "warn"), (ample, "pass")):
            place: dict[str, Any] = {field.rpartition(".")[2]: make_place("/x", **{resource: number})}
            around = make_kubelet_around(**place) if field == "kubelet.root_dir" else None
            facts = make_facts(kubelet_around=around) if around else facts_with(**place)
            assert status_of("runtime-directories", facts)[0] == expected


@pytest.mark.parametrize(
    ("field", "place", "expected"),
    [
        ("root_dir", make_place("/x", flags=os.ST_RDONLY), ("fail", "KubeletDirectoryNotWritable")),
        ("pods_dir", make_place("/x", mode=stat.S_IFLNK | 0o777), ("fail", "KubeletDirectoryNotWritable")),
        ("root_dir", make_place("/x", free_inodes=3), ("fail", "KubeletDirectoryNotWritable")),
        ("logs_dir", make_place("/x", flags=os.ST_RDONLY), ("fail", "KubeletDirectoryNotWritable")),
        ("logs_dir", make_place("/x", free_bytes=0), ("fail", "KubeletDirectoryNotWritable")),
        ("logs_dir", make_place("/x", free_inodes=1), ("warn", "")),
        ("logs_dir", unread(), ("unknown", "NotPermitted")),
    ],
)
def test_directories_of_the_kubelet(field: str, place: Any, expected: tuple[str, str]) -> None:
    """It makes one for each Pod in its root and one for logs, before the runtime is asked."""
    changed: dict[str, Any] = {field: place}
    facts = make_facts(kubelet_around=make_kubelet_around(**changed))
    assert status_of("runtime-directories", facts) == expected


@pytest.mark.parametrize(
    ("oci", "keys", "expected"),
    [
        ("runc", make_keys(1), "fail"),
        ("runc", make_keys(200, 10), "fail"),
        ("runc", make_keys(200, 139), "fail"),
        ("runc", make_keys(2, 140), "warn"),
        ("runc", make_keys(20, 20_000), "pass"),
        ("crun", make_keys(1), "pass"),
        ("youki", make_keys(1), "warn"),
    ],
)
def test_keyrings(oci: str, keys: Any, expected: str) -> None:
    """runc makes one for each container, counted for the Pod's UID; a Pod has two containers at least."""
    assert status_of("runtime-limits", facts_with(oci, keys=keys))[0] == expected
    own = (make_handler_around(no_new_keyring=True),)
    assert status_of("runtime-limits", facts_with(oci, keys=keys, handlers=own))[0] == "pass"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"limits": limits(NPROC=4)}, "fail"),
        ({"limits": limits(NPROC=8)}, "warn"),
        ({"limits": limits(NPROC=4096)}, "pass"),
        ({"limits": limits(NOFILE=32)}, "fail"),
        ({"limits": limits(NOFILE=33)}, "warn"),
        ({"limits": limits(NOFILE=1023)}, "warn"),
        ({"limits": limits(NOFILE=1024)}, "pass"),
        ({"limits": limits(FSIZE=1 << 20)}, "fail"),
        ({"limits": limits(FSIZE=(1 << 20) + 1)}, "warn"),
        ({"limits": limits(FSIZE=(10 << 30) - 1)}, "warn"),
        ({"limits": limits(FSIZE=10 << 30)}, "pass"),
        ({"limits": limits(FSIZE=-1)}, "pass"),
        ({"limits": limits(STACK=16 << 10)}, "fail"),
        ({"limits": limits(STACK=(16 << 10) + 1)}, "warn"),
        ({"limits": limits(STACK=(64 << 10) - 1)}, "warn"),
        ({"limits": limits(STACK=64 << 10)}, "pass"),
        ({"limits": limits(AS=700 << 20)}, "fail"),
        ({"limits": limits(AS=1 << 30)}, "unknown"),
        ({"limits": limits(AS=1600 << 20)}, "warn"),
        ({"limits": limits(AS=2 << 30)}, "pass"),
        ({"limits": limits(DATA=64 << 20)}, "fail"),
        ({"limits": limits(DATA=100 << 20)}, "unknown"),
        ({"limits": limits(DATA=128 << 20)}, "warn"),
        ({"limits": limits(DATA=-1)}, "pass"),
        ({"limits": {}}, "unknown"),
        *(({"limits": {name: limit for name, limit in limits().items() if name != one}}, "unknown") for one in JUDGED),
        ({"pids_left": 3}, "fail"),
        ({"pids_left": 50}, "warn"),
        ({"pids_left": 5000}, "pass"),
        ({"limits": unread("limits")}, "unknown"),
    ],
)
def test_processes(told: dict[str, Any], expected: str) -> None:
    """Limits of the UID and of the cgroup."""
    assert status_of("runtime-limits", facts_with(daemon=make_daemon(**told)))[0] == expected


@pytest.mark.parametrize("also", [{}, {"pids_left": unread("pids.max")}])
def test_shims_that_may_not_start_leave_the_verdict_open(also: dict[str, Any]) -> None:
    """Another unknown of the same check, which does not decide, hides none that does."""
    around = facts_with(daemon=make_daemon(limits=limits(AS=1 << 30), **also))
    assert conclude(judge(around)).verdict == "unknown"


@pytest.mark.parametrize(
    ("oci", "number", "expected"),
    [("runc", 5, "fail"), ("runc", 8, "warn"), ("crun", 3, "warn"), ("crun", 2, "fail"), ("youki", 1, "warn")],
)
def test_processes_by_runtime(oci: str, number: int, expected: str) -> None:
    """crun needs fewer than runc; of others it is not known."""
    facts = facts_with(oci, daemon=make_daemon(limits=limits(NPROC=number)))
    assert status_of("runtime-limits", facts)[0] == expected


@pytest.mark.parametrize(
    ("score", "restricts", "name", "expected"),
    [
        (0, False, "containerd", "fail"),
        (0, True, "containerd", "pass"),
        (-998, False, "containerd", "pass"),
        (0, unread(), "containerd", "unknown"),
        (0, False, "cri-o", "pass"),
    ],
)
def test_oom_score_without_the_capability(score: int, restricts: Any, name: str, expected: str) -> None:
    """Without CAP_SYS_RESOURCE only a containerd that asks for nothing lower than its own makes Pods."""
    daemon = make_daemon(effective_capabilities=ALL_CAPABILITIES & ~(1 << 24), oom_score_adj=score)
    facts = facts_with(daemon=daemon, restricts_oom_score=restricts, runtime={"name": name})
    assert status_of("runtime-limits", facts)[0] == expected


def test_shim() -> None:
    """No shim, no Pod."""
    gone = (make_handler_around(shim=absent("containerd-shim-runc-v2")),)
    assert status_of("runtime-parts", facts_with(handlers=gone)) == ("fail", "ShimMissing")
    unknown = (make_handler_around(shim=unread()),)
    assert status_of("runtime-parts", facts_with(handlers=unknown)) == ("unknown", "NotPermitted")


SHIM = "/usr/bin/containerd-shim-runc-v2"


@pytest.mark.parametrize(
    ("linked", "name", "expected"),
    [
        ((SHIM,), "containerd", ("fail", "PreloadMissing")),
        (("/another/shim",), "containerd", ("warn", "")),
        ((), "containerd", ("warn", "")),
        ((SHIM,), "cri-o", ("pass", "")),
    ],
)
def test_a_preloaded_library_that_is_missing(linked: tuple[str, ...], name: str, expected: tuple[str, str]) -> None:
    """Only containerd reads stderr of its shim, and only a dynamic linker complains there."""
    facts = facts_with(missing_libraries=("/x.so",), linked_shims=linked, runtime={"name": name})
    assert status_of("runtime-parts", facts) == expected


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        (Reading("/shims", "/sys/fs/cgroup/shims"), ("pass", "")),
        (absent("/shims"), ("fail", "ShimCgroupMissing")),
        (unread(), ("unknown", "NotPermitted")),
    ],
)
def test_the_cgroup_of_shims(cgroup: Any, expected: tuple[str, str]) -> None:
    """No shim makes the cgroup that it joins."""
    handlers = (make_handler_around(shim_cgroup=cgroup),)
    assert status_of("runtime-parts", facts_with(handlers=handlers)) == expected


def conditions(**met: bool) -> Reading[tuple[CriCondition, ...]]:
    """Conditions of CRI's Status."""
    told = {"RuntimeReady": True, "NetworkReady": True} | met
    return Reading("CRI Status", tuple(CriCondition(name, on, "" if on else "why") for name, on in told.items()))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (conditions(NetworkReady=False), ("fail", "NetworkNotReady")),
        (conditions(RuntimeReady=False), ("fail", "RuntimeNotReady")),
        (conditions(ContainerdHasNoDeprecationWarnings=False), ("pass", "")),
        (Reading("CRI Status", (CriCondition("RuntimeReady", True),)), ("fail", "NetworkNotReady")),
        (Reading("CRI Status", ()), ("fail", "RuntimeNotReady")),
        (unread(), ("unknown", "NotPermitted")),
    ],
)
@pytest.mark.parametrize("name", ["containerd", "cri-o"])
def test_conditions_of_the_runtime(told: Any, expected: tuple[str, str], name: str) -> None:
    """The kubelet starts no Pod without both, and takes one that is missing for false."""
    facts = facts_with(runtime={"conditions": told, "name": name})
    assert status_of("runtime-parts", facts) == expected
    if expected[0] == "fail" and len(told.value) > 1:
        found = next(each for each in judge(facts) if each.id == "runtime-parts")
        assert "why" in found.message


def test_network() -> None:
    """A Pod with a user namespace has no other network than the runtime's."""
    missing = Cni(conf="/etc/cni/net.d/1.conf", missing=("bridge",), directories=("/opt/cni/bin",))
    assert status_of("runtime-parts", facts_with(cni=missing)) == ("fail", "CniPluginMissing")
    nothing = facts_with(cni=absent("/etc/cni"), runtime={"conditions": conditions(NetworkReady=False)})
    assert status_of("runtime-parts", nothing) == ("fail", "NetworkNotConfigured")
    assert status_of("runtime-parts", facts_with(cni=absent("/etc/cni"))) == ("unknown", "NotReadable")
    assert status_of("runtime-parts", facts_with(cni=unread())) == ("unknown", "NotPermitted")
    own = (make_handler_around(own_network=True),)
    assert status_of("runtime-parts", facts_with(cni=missing, handlers=own)) == ("pass", "")


@pytest.mark.parametrize(
    ("oci", "systemd", "version", "driver", "expected"),
    [
        ("runc", False, "1.36.2", "systemd", "fail"),
        ("crun", False, "1.36.2", "systemd", "fail"),
        ("runc", True, "1.30.1", "cgroupfs", "fail"),
        ("runc", True, "1.30.1", "systemd", "pass"),
        ("runc", True, "1.31.0", "cgroupfs", "pass"),
    ],
)
def test_cgroup_driver(oci: str, systemd: bool, version: str, driver: str, expected: str) -> None:
    """runc asks systemd, which has to be there, with a name that the kubelet has made for it."""
    facts = facts_with(oci, systemd=systemd)
    facts = msgspec.structs.replace(
        facts, kubelet=Reading("kubelet", make_kubelet(version=version, cgroup_driver=driver))
    )
    assert status_of("runtime-parts", facts)[0] == expected


@pytest.mark.parametrize(
    ("oci", "expected"), [("runc", "fail"), ("crun", "fail"), ("youki", "warn"), (absent("/x"), "unknown")]
)
def test_a_poststart_hook_that_is_missing(oci: Any, expected: str) -> None:
    """The container runs already: the OCI specification asks for a warning, and runc and crun fail."""
    late = Hook(when="poststart", path="/x", steps=(absent("/x"),))
    handlers = (make_handler_around(added=Reading("/base.json", Added(hooks=(late,)))),)
    assert status_of("runtime-base-spec", facts_with(oci, handlers=handlers))[0] == expected


@pytest.mark.parametrize(("oci", "expected"), [("runc", "fail"), ("crun", "fail"), ("youki", "pass")])
def test_a_poststart_hook_that_nobody_may_execute(oci: str, expected: str) -> None:
    """It stops a container of runc and of crun."""
    handlers = (make_handler_around(added=Reading("/base.json", Added(hooks=(hook("poststart", mode=0o100644),)))),)
    assert status_of("runtime-base-spec", facts_with(oci, handlers=handlers))[0] == expected


def mount(**fields: Any) -> AddedMount:
    """A mount at /x."""
    return AddedMount(destination="/x", **fields)


def hook(when: str = "createContainer", folder: int = 0o40755, more: Any = (), **program: Any) -> Hook:
    """A hook and its way, then *more* of it."""
    steps = (make_place("/opt/hook", **{"mode": 0o100755} | program), make_place("/opt", mode=folder), *more)
    return Hook(when=when, path="/opt/hook", steps=steps)


def reading(when: str, mode: int, **library: Any) -> Hook:
    """A hook with a shared library."""
    return replace(hook(when), libraries=(make_place("/opt/lib.so", mode=mode, **library),))


def tried(name: str, error: str) -> Added:
    """A sysctl with the outcome of setting it."""
    return Added(sysctls=((name, "1"),), tried={name: Reading("/proc/sys", error)})


def interpreter(mode: int = 0o100755, **fields: Any) -> Any:
    """What starts a hook."""
    return (make_place("/opt/sh", mode=mode, **fields),)


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        (Added(), ("pass", "")),
        (Added(hooks=(hook(),)), ("pass", "")),
        (Added(hooks=(hook(mode=0o100700),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(hook(folder=0o40700),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(hook("createRuntime", mode=0o100700),)), ("pass", "")),
        (Added(hooks=(hook("prestart", folder=0o40700),)), ("pass", "")),
        (Added(hooks=(hook(mode=0o100711),)), ("unknown", "NotReadable")),
        (Added(hooks=(hook(mode=0o100700, acl=True),)), ("unknown", "NotReadable")),
        (Added(hooks=(hook(mode=0o100711, linked=True),)), ("pass", "")),
        (Added(hooks=(hook(more=interpreter()),)), ("pass", "")),
        (Added(hooks=(hook(more=interpreter(0o100711)),)), ("pass", "")),
        (Added(hooks=(hook(more=interpreter(0o100750)),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(hook(more=interpreter(0o100750, acl=True)),)), ("unknown", "NotReadable")),
        (Added(hooks=(hook(more=interpreter(0o40700)),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(hook(more=(unread("/opt/sh"),)),)), ("unknown", "NotReadable")),
        (Added(hooks=(hook("createRuntime", more=interpreter(0o100700)),)), ("pass", "")),
        (Added(hooks=(hook("createRuntime", more=interpreter(0o100644)),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(hook("createRuntime", more=interpreter(flags=os.ST_NOEXEC)),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(hook("createRuntime", mode=0o100644),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(hook(unfound="python3"),)), ("unknown", "NotReadable")),
        (Added(hooks=(hook("poststop", unfound="python3"),)), ("pass", "")),
        (Added(hooks=(reading("createContainer", 0o100640),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(reading("createContainer", 0o100644),)), ("pass", "")),
        (Added(hooks=(reading("createContainer", 0o100640, acl=True),)), ("unknown", "NotReadable")),
        (Added(hooks=(reading("createRuntime", 0o100640),)), ("pass", "")),
        (Added(hooks=(hook("prestart", mode=0o40755),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(hook("createRuntime", flags=os.ST_NOEXEC),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(hook("startContainer", flags=os.ST_NOEXEC),)), ("warn", "")),
        (Added(hooks=(hook("startContainer"),)), ("warn", "")),
        (Added(hooks=(Hook(when="poststart", path="/x", steps=(absent("/x"),)),)), ("fail", "HookNotExecutable")),
        (Added(hooks=(Hook(when="poststop", path="/x", steps=(absent("/x"),)),)), ("pass", "")),
        (Added(hooks=(Hook(when="createContainer", path="/x", steps=(unread("/x"),)),)), ("unknown", "NotReadable")),
        (Added(sysctls=(("net.ipv4.ping_group_range", "0 2147483647"),)), ("fail", "SysctlRefused")),
        (Added(sysctls=(("net/ipv4/ping_group_range", "0 65536"),)), ("fail", "SysctlRefused")),
        (Added(sysctls=(("net.ipv4.ping_group_range", "0 65535"),)), ("pass", "")),
        (Added(sysctls=(("net.ipv4.ping_group_range", "1 0"),)), ("pass", "")),
        (Added(sysctls=(("net.ipv4.ping_group_range", "0 0x7fffffff"),)), ("fail", "SysctlRefused")),
        (Added(sysctls=(("net.ipv4.ping_group_range", "0 0177777"),)), ("pass", "")),
        (Added(sysctls=(("net.ipv4.ping_group_range", "0 +5"),)), ("fail", "SysctlRefused")),
        (Added(sysctls=(("net.ipv6.route.gc_timeout", "60"),)), ("fail", "SysctlRefused")),
        (Added(sysctls=(("net.core.somaxconn", "4096"),)), ("pass", "")),
        (tried("net.ipv4.ip_default_ttl", "EINVAL"), ("fail", "SysctlRefused")),
        (tried("net.ipv4.ip_default_ttl", ""), ("pass", "")),
        (tried("net.ipv6.route.gc_timeout", ""), ("pass", "")),
        (tried("net.netfilter.nf_conntrack_max", "EACCES"), ("fail", "SysctlRefused")),
        (tried("net.netfilter.nf_conntrack_max", ""), ("pass", "")),
        (tried("net.ipv4.conf.eth0.forwarding", "ENOENT"), ("pass", "")),
        (tried("net/ipv6/neigh/lo/retrans_time_ms", ""), ("pass", "")),
        (tried("net.ipv4.conf.docker0.forwarding", "ENOENT"), ("unknown", "NotTried")),
        (tried("net/ipv4/conf/eth0.100/forwarding", "ENOENT"), ("unknown", "NotTried")),
        (Added(mounts=(mount(fstype="debugfs"),)), ("fail", "MountRefused")),
        (Added(mounts=(mount(fstype="jfs"),)), ("fail", "MountRefused")),
        (Added(mounts=(mount(fstype="proc", options=("gid=70000",)),)), ("pass", "")),
        (Added(mounts=(mount(fstype="fuse.sshfs"),)), ("unknown", "NotTried")),
        (Added(mounts=(mount(fstype="NFS"),)), ("unknown", "NotTried")),
        (Added(mounts=(mount(fstype="none"),)), ("fail", "MountRefused")),
        (Added(mounts=(mount(fstype="none", options=("remount", "ro")),)), ("unknown", "NotTried")),
        (Added(mounts=(mount(),)), ("unknown", "NotTried")),
        (Added(mounts=(mount(fstype="mqueue"), mount(fstype="cgroup"))), ("pass", "")),
        (Added(mounts=(mount(fstype="tmpfs"),)), ("pass", "")),
        (Added(mounts=(mount(fstype="tmpfs", options=("mode=755", "uid=65536")),)), ("fail", "MountRefused")),
        (Added(mounts=(mount(fstype="devpts", options=("gid=5",)),)), ("pass", "")),
        (Added(mounts=(mount(source=absent("/x")),)), ("fail", "MountRefused")),
        (Added(mounts=(mount(source=make_place("/x", mode=0o40700)),)), ("pass", "")),
        (Added(mounts=(mount(source=unread("/x")),)), ("unknown", "NotPermitted")),
        (Added(mounts=(mount(source=make_place("/x"), options=("bind", "idmap")),)), ("unknown", "NotTried")),
        (Added(mounts=(mount(fstype="debugfs"),), newer=True), ("unknown", "NotReadable")),
        (Added(limits=(("RLIMIT_NOFILE", Limit(20, 4096)),)), ("fail", "LimitTooSmall")),
        (Added(limits=(("RLIMIT_NOFILE", Limit(21, 4096)),)), ("warn", "")),
        (Added(limits=(("RLIMIT_NOFILE", Limit(1024, 4096)),)), ("pass", "")),
        (Added(limits=(("RLIMIT_NOFILE", Limit(64, (1 << 20) + 1)),)), ("fail", "LimitRefused")),
        (Added(limits=(("RLIMIT_NOFILE", Limit(-1, -1)),)), ("fail", "LimitRefused")),
        (Added(limits=(("RLIMIT_CORE", Limit(2, 1)),)), ("fail", "LimitRefused")),
        (Added(limits=(("RLIMIT_CORE", Limit(-1, 1)),)), ("fail", "LimitRefused")),
        (Added(limits=(("RLIMIT_CORE", Limit(-1, -1)),)), ("pass", "")),
        (Added(limits=(("RLIMIT_X", Limit(1, 1)),)), ("fail", "LimitRefused")),
        (Added(newer=True), ("unknown", "NotReadable")),
    ],
)
def test_base_spec(added: Added, expected: tuple[str, str]) -> None:
    """As real containers with and without a user namespace did with runc 1.3.6 on Linux 6.18."""
    own = (make_handler_around(added=Reading("/etc/containerd/base.json", added)),)
    assert status_of("runtime-base-spec", facts_with(handlers=own)) == expected


@pytest.mark.parametrize(("held", "expected"), [(ALL_CAPABILITIES, "pass"), (ALL_CAPABILITIES ^ 1 << 24, "fail")])
def test_a_limit_above_that_of_the_runtime(held: int, expected: str) -> None:
    """Only CAP_SYS_RESOURCE may raise it, as runc is refused without: "error setting rlimit type 8"."""
    daemon = make_daemon(limits=limits(MEMLOCK=65536), effective_capabilities=held)
    added = Added(limits=(("RLIMIT_MEMLOCK", Limit(1 << 40, 1 << 40)),))
    own = (make_handler_around(added=Reading("/etc/containerd/base.json", added)),)
    assert status_of("runtime-base-spec", facts_with(handlers=own, daemon=daemon))[0] == expected


@pytest.mark.parametrize(
    ("value", "version", "expected"),
    [
        ("0 2147483647", "1.34.1", ("pass", "")),
        ("0  2147483647", "1.31.0", ("pass", "")),
        ("0 2147483647", "1.30.4", ("unknown", "NotReadable")),
        ("0 200000", "1.34.1", ("fail", "SysctlRefused")),
        ("0 65535", "1.30.4", ("pass", "")),
    ],
)
def test_the_range_of_groups_that_crio_fits(value: str, version: str, expected: tuple[str, str]) -> None:
    """OpenShift's default works since CRI-O 1.31, any other range beyond the Pod's groups does not."""
    added = Added(sysctls=(("net.ipv4.ping_group_range", value), ("vm.swappiness", "1")))
    own = (make_handler_around(added=Reading("crio config", added)),)
    facts = facts_with(handlers=own, runtime={"name": "cri-o", "version": version})
    assert status_of("runtime-base-spec", facts) == expected


def test_hooks_that_crio_runs_with_each_container() -> None:
    """A program that a Pod's own root may not execute stops each Pod; else a warning is enough."""
    for mode, expected in ((0o100700, ("fail", "HookNotExecutable")), (0o100755, ("pass", ""))):
        files = HookFiles(found=1, hooked=1, unread=0, always=(hook(mode=mode),))
        facts = msgspec.structs.replace(
            facts_with(runtime={"name": "cri-o"}),
            hooks=Reading("hooks", make_hooks(oci_hooks=Reading("hooks.d", files))),
        )
        assert status_of("runtime-base-spec", facts) == expected
        assert status_of("hazard-device-hooks", facts) == ("warn", "")


@pytest.mark.parametrize("name", ["containerd", "cri-o"])
def test_programs_of_the_runtime(name: str) -> None:
    """CRI-O makes no Pod without pinns and its monitor."""
    gone = (make_handler_around(shim=absent("/usr/bin/conmon")),)
    found = status_of("runtime-parts", facts_with(handlers=gone, runtime={"name": name}))
    assert found == ("fail", "ShimMissing" if name == "containerd" else "MonitorMissing")


@pytest.mark.parametrize(("oci", "expected"), [("crun", ("fail", "HybridCgroups")), ("runc", ("pass", ""))])
def test_hybrid_cgroups(oci: str, expected: tuple[str, str]) -> None:
    """crun: "cgroups in hybrid mode not supported, drop all controllers from cgroupv2"."""
    assert status_of("runtime-parts", facts_with(oci, hybrid_controllers="hugetlb")) == expected
    assert status_of("runtime-parts", facts_with(oci, hybrid_controllers="")) == ("pass", "")


def test_a_base_spec_that_was_not_read_decides() -> None:
    """What each container gets is then unknown."""
    facts = facts_with(handlers=(make_handler_around(added=unread("/etc/containerd/base.json")),))
    assert conclude(judge(facts)).verdict == "unknown"


@pytest.mark.parametrize(
    ("resolv_conf", "expected"),
    [
        (make_place("/run/systemd/resolve/resolv.conf", mode=0o100644), ("pass", "")),
        (absent("/run/systemd/resolve/resolv.conf"), ("fail", "ResolvConfMissing")),
        (make_place("/etc/resolv.conf"), ("fail", "ResolvConfMissing")),
        (make_place("/etc/resolv.conf", mode=0o010644), ("fail", "ResolvConfMissing")),
        (make_place("/dev/null", mode=0o020666), ("pass", "")),
        (unread("/etc/resolv.conf"), ("unknown", "NotPermitted")),
        (NO_PLACE, ("pass", "")),
    ],
)
def test_a_kubelet_without_its_resolv_conf(resolv_conf: Reading[Place], expected: tuple[str, str]) -> None:
    """No Pod gets a sandbox then, "open /run/systemd/resolve/resolv.conf: no such file or directory"."""
    around = make_kubelet_around(resolv_conf=resolv_conf)
    assert status_of("runtime-parts", make_facts(kubelet_around=around)) == expected


@pytest.mark.parametrize(
    ("source", "there", "expected"),
    [("resolvConf", False, "unknown"), ("--resolv-conf", False, "fail"), ("resolvConf", True, "pass")],
)
def test_a_resolv_conf_that_may_not_be_the_one(source: str, there: bool, expected: str) -> None:
    """The kubelet reads its files once: one that changed since may have named another; a flag stands."""
    place = make_place("/x", mode=0o100644) if there else absent("/x")
    files = Reading("files", (DropIn(path="/var/lib/kubelet/config.yaml", newer=True),))
    kubelet = make_kubelet(files=files, resolv_conf=Reading(source, "/x"))
    facts = make_facts(kubelet=kubelet, kubelet_around=make_kubelet_around(resolv_conf=place))
    found = next(each for each in judge(facts) if each.id == "runtime-parts")
    assert (found.status, found.gating) == (expected, expected == "unknown")


@pytest.mark.parametrize(("limit", "expected"), [(1, "fail"), (3, "fail"), (1024, "pass"), (-1, "pass"), (0, "pass")])
def test_processes_that_the_kubelet_leaves_to_each_pod(limit: int, expected: str) -> None:
    """The OCI runtime itself is in the Pod's cgroup when it starts a container."""
    assert status_of("runtime-limits", make_facts(kubelet=make_kubelet(pod_pids_limit=limit)))[0] == expected
    changed = Reading("files", (DropIn(path="/var/lib/kubelet/config.yaml", newer=True),))
    stale = make_facts(kubelet=make_kubelet(pod_pids_limit=limit, files=changed))
    assert status_of("runtime-limits", stale)[0] == expected.replace("fail", "unknown"), "it may not be in force"
    assert (conclude(judge(stale)).verdict == "ready") == (expected == "pass")


@pytest.mark.parametrize(
    ("name", "files", "expected"),
    [
        ("cri-o", HookFiles(found=3, hooked=0, unread=0), "pass"),
        ("cri-o", HookFiles(found=3, hooked=0, unread=1), "unknown"),
        ("cri-o", unread("/etc/containers/oci/hooks.d"), "unknown"),
        ("containerd", unread("/etc/containers/oci/hooks.d"), "pass"),
    ],
)
def test_hooks_that_were_not_read(name: str, files: Any, expected: str) -> None:
    """Any of them may be one that no Pod's root can run; containerd looks at none."""
    hooks = Reading("hooks", make_hooks(oci_hooks=files if isinstance(files, Reading) else Reading("hooks.d", files)))
    facts = facts_with(runtime={"name": name})
    assert status_of("runtime-base-spec", msgspec.structs.replace(facts, hooks=hooks))[0] == expected


@pytest.mark.parametrize(
    ("told", "mounted", "expected"),
    [
        ({"seccomp": Reading("status", 2)}, False, "unknown"),
        ({"seccomp": Reading("status", 2)}, True, "pass"),
        ({"label": Reading("attr", "snap.kubelet (enforce)")}, False, "unknown"),
        ({"label": Reading("attr", "system_u:system_r:kubelet_t:s0")}, False, "pass"),
        ({"label": Reading("attr", "unconfined"), "seccomp": Reading("status", 0)}, False, "pass"),
    ],
)
def test_a_kubelet_that_may_be_kept_from_mounting(told: dict[str, Any], mounted: bool, expected: str) -> None:
    """The level of tokens is then unknown, unless a volume of a Pod shows that it mounts; that below it is not."""
    volumes = (make_attempt(fstype="tmpfs"),) if mounted else ()
    facts = make_facts(kubelet_around=make_kubelet_around(**told), attempts=(*make_attempts(), *volumes))
    assert status_of("kubelet-confinement", facts)[0] == expected
    ran = HandlerTrial(handler="", result="runs", reason="ran", step="", mounts=("kubelet-root", "tmpfs"))
    trial = Reading("pod trial", PodTrialFacts(handlers=(ran,), seconds=0.3))
    for each in (facts, msgspec.structs.replace(facts, pod_trial=trial)):  # in a trial no kubelet mounts anything
        levels = conclude(judge(each)).levels
        assert (levels["stateless"], levels["projected"] == "ready") == ("ready", expected == "pass")


def test_what_the_default_handler_gets_counts_where_nothing_is_known_of_another() -> None:
    """A configuration that was not read tells of no handler; none of them is then said to add nothing."""
    facts = facts_with(handlers=(make_handler_around(added=unread("CRI")),))
    found = next(each for each in judge(facts, "runc") if each.id == "runtime-base-spec")
    assert (found.status, found.reason) == ("unknown", "NotPermitted")


@pytest.mark.parametrize(("arrives", "expected"), [(True, "pass"), (False, "fail")])
def test_propagation(arrives: bool, expected: str) -> None:
    """Without it, Pods without volumes run, and others miss their token."""
    found = Propagation(same_namespace=False, arrives=arrives, kubelet="shared:1", runtime="master:1")
    facts = make_facts(kubelet_around=make_kubelet_around(propagation=found))
    assert status_of("runtime-mount-propagation", facts)[0] == expected
    levels = conclude(judge(facts)).levels
    assert levels["stateless"] == "ready"
    assert levels["projected"] == ("ready" if arrives else "not-ready")


@pytest.mark.parametrize(("same", "expected"), [(True, "pass"), (False, "fail"), (None, "unknown")])
def test_another_directory_at_the_path_of_the_kubelet(same: bool | None, expected: str) -> None:
    """The runtime finds no /etc/hosts of any Pod, so each container fails."""
    found = Propagation(same_namespace=False, arrives=True, same_directory=same, kubelet="shared:1", runtime="master:1")
    facts = make_facts(kubelet_around=make_kubelet_around(propagation=found))
    assert status_of("runtime-directories", facts)[0] == expected
    assert (conclude(judge(facts)).levels["stateless"] == "not-ready") == (expected == "fail")


def test_a_kubelet_that_may_not_mount() -> None:
    """It mounts no token; Pods without volumes run."""
    facts = make_facts(kubelet_around=make_kubelet_around(effective_capabilities=ALL_CAPABILITIES & ~(1 << 21)))
    assert status_of("kubelet-confinement", facts) == ("fail", "KubeletConfined")
    assert conclude(judge(facts)).levels["stateless"] == "ready"


@pytest.mark.parametrize("check", OWN)
def test_each_check_says_where_to_read_on(check: str) -> None:
    """Each has a page and reasons of its own."""
    declared = find(check)
    assert declared
    assert declared.reasons
    assert declared.documentation


@pytest.mark.parametrize("check_id", ["kubelet-confinement", "runtime-directories", "runtime-mount-propagation"])
def test_around_a_kubelet_that_does_not_run_the_cause_is_the_missing_kubelet(check_id: str) -> None:
    """One cause is told once: nothing could not be read, there is nothing to read."""
    missing = absent("processes of this node")
    facts = make_facts(kubelet=missing, kubelet_around=missing)
    assert status_of(check_id, facts) == ("unknown", "KubeletNotFound")


@pytest.mark.parametrize(
    ("place", "status"),
    [
        (make_place("/s"), "pass"),
        (make_place("/s", mode=0o100644), "fail"),
        (make_place("/s", flags=os.ST_RDONLY), "fail"),
        (make_place("/s", immutable=True), "fail"),
        (make_place("/s", sealed=True), "fail"),
        (make_place("/s", free_inodes=0), "fail"),
        (unread("/s"), "unknown"),
    ],
)
def test_each_folder_in_which_something_is_made_for_each_pod(place: Reading[Place], status: str) -> None:
    """One that takes nothing more stops each Pod, as the roots themselves do; so does that of the kubelet's Pods."""
    for facts, reason in (
        (facts_with(folders=(place,)), "DirectoryNotWritable"),
        (make_facts(kubelet_around=make_kubelet_around(pods_dir=place)), "KubeletDirectoryNotWritable"),
    ):
        found = status_of("runtime-directories", facts)
        assert found[0] == status
        assert found[1] == (reason if status == "fail" else found[1])
    if status == "fail":
        assert status_of("runtime-directories", facts_with(temporary=place))[1] == "TemporaryDirectoryUnusable"


@pytest.mark.parametrize(
    ("version", "mounted", "oci", "expected"),
    [
        (2, {}, "runc", ("pass", "")),
        (2, {"cgroup2_options": None}, "runc", ("fail", "DirectoryNotWritable")),
        (2, {"cgroup2_options": None, "cgroup_controllers": ("cpu",)}, "runc", ("pass", "")),
        (1, {"cgroup_controllers": ("cpu", "devices")}, "runc", ("pass", "")),
        (1, {"cgroup_controllers": ("cpu", "devices")}, "crun", ("fail", "DirectoryNotWritable")),
        (1, {"cgroup_controllers": ("cpu", "cpuset", "devices")}, "crun", ("pass", "")),
        (1, {"cgroup_controllers": ("cpu", "memory")}, "runc", ("fail", "DirectoryNotWritable")),
        (1, {"cgroup_controllers": ()}, "runc", ("fail", "DirectoryNotWritable")),
        (unread(), {"cgroup2_options": None}, "runc", ("pass", "")),
    ],
)
def test_hierarchies_of_cgroups(version: Any, mounted: dict[str, Any], oci: str, expected: tuple[str, str]) -> None:
    """No OCI runtime makes a container without its own; the mount table counts where the node was entered."""
    runtime = make_runtime(handlers=Reading("CRI", (make_handler(oci_runtime=oci),)))
    parts = {"runtime": runtime, "kernel": make_kernel(cgroup_version=version), "mounts": make_mounts(**mounted)}
    assert status_of("runtime-directories", make_facts(**parts)) == expected
    outside = make_facts(**parts, probe=make_probe(entered=unread("/proc/1/ns/mnt")))
    assert status_of("runtime-directories", outside)[0] != "fail"


@pytest.mark.parametrize(
    ("hosts", "name", "expected"),
    [
        (make_place("/etc/hosts", mode=0o100644), "containerd", ("pass", "")),
        (absent("/etc/hosts"), "containerd", ("fail", "HostsFileMissing")),
        (make_place("/etc/hosts", mode=0o40755), "containerd", ("fail", "HostsFileMissing")),
        (absent("/etc/hosts"), "cri-o", ("pass", "")),
        (unread("/etc/hosts"), "containerd", ("unknown", "NotPermitted")),
    ],
)
def test_the_file_that_containerd_copies(hosts: Reading[Place], name: str, expected: tuple[str, str]) -> None:
    """For each Pod, before the kubelet's own takes its place; without it no sandbox starts."""
    assert status_of("runtime-parts", facts_with(runtime={"name": name}, hosts=hosts)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (make_place("/dev/fuse", mode=0o20666), ("pass", "")),
        (absent("/dev/fuse"), ("fail", "MountRefused")),
        (unread("/dev/fuse"), ("unknown", "NotPermitted")),
    ],
)
def test_a_device_that_each_container_gets(source: Reading[Place], expected: tuple[str, str]) -> None:
    """In a user namespace the node's own is bound where other containers get a new one."""
    added = Reading("/etc/base.json", Added(devices=(AddedDevice(path="/dev/fuse", source=source),)))
    assert status_of("runtime-base-spec", facts_with(handlers=(make_handler_around(added=added),))) == expected


_FOREIGN = "is a program of another architecture"


@pytest.mark.parametrize(
    ("oci", "when", "defect", "expected"),
    [
        ("runc", "createRuntime", _FOREIGN, ("fail", "HookNotExecutable")),
        ("crun", "createRuntime", _FOREIGN, ("unknown", "NotTried")),
        ("crun", "createRuntime", "needs libx.so.6, which is not there", ("fail", "HookNotExecutable")),
        ("", "createRuntime", "needs libx.so.6, which is not there", ("unknown", "NotTried")),
        ("", "createContainer", _FOREIGN, ("unknown", "NotTried")),
        ("crun", "poststart", _FOREIGN, ("pass", "")),
        ("runc", "poststop", _FOREIGN, ("pass", "")),
    ],
)
def test_a_hook_that_the_kernel_does_not_execute(oci: str, when: str, defect: str, expected: tuple[str, str]) -> None:
    """Its mode lets everyone execute it, and the kernel does not; crun starts a shell for it, which runs scripts."""
    program = make_place("/opt/hook", mode=0o100755, defect=defect)
    added = Reading("/etc/base.json", Added(hooks=(Hook(when=when, path="/opt/hook", steps=(program,)),)))
    assert status_of("runtime-base-spec", facts_with(oci, handlers=(make_handler_around(added=added),))) == expected


def test_a_hook_that_may_not_run_shows_its_defect() -> None:
    """Of the program itself, not of the folders above it."""
    program = make_place("/opt/hook", mode=0o100755, defect="is a program of another architecture")
    hook = Hook(when="createRuntime", path="/opt/hook", steps=(program, make_place("/opt", mode=0o40755)))
    around = make_handler_around(added=Reading("/etc/base.json", Added(hooks=(hook,))))
    finding = next(each for each in judge(facts_with("crun", handlers=(around,))) if each.id == "runtime-base-spec")
    assert finding.status == "unknown"
    assert [one.value for one in finding.evidence] == ["is a program of another architecture"]


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        (Added(sysctls=(("net.a", "1"),), now={"net.a": Reading("a", "2")}), ("pass", "")),
        (Added(sysctls=(("net.a", "many"),), now={"net.a": Reading("a", "2")}), ("fail", "SysctlRefused")),
        (Added(sysctls=(("net.a", "cubic"),), now={"net.a": Reading("a", "reno")}), ("pass", "")),
        (Added(sysctls=(("net.a", "1"),), now={"net.a": absent("a")}), ("fail", "SysctlRefused")),
        (Added(sysctls=(("net.ipv4.conf.eth0.a", "1"),), now={"net.ipv4.conf.eth0.a": absent("a")}), ("pass", "")),
        (Added(sysctls=(("net.a", "1 2"),), now={"net.a": Reading("a", "2")}), ("pass", "")),
        (Added(sysctls=(("net.a", ""),), now={"net.a": Reading("a", "2")}), ("pass", "")),
        (Added(sysctls=(("user.max_net_namespaces", "1"),)), ("unknown", "NotTried")),
        (Added(sysctls=(("net.core.somaxconn", "1"),)), ("pass", "")),
        (Added(sysctls=(("kernel.pid_max", "1"),)), ("fail", "SysctlRefused")),
        (Added(sysctls=(("kernel.hostname", "a"),)), ("fail", "SysctlRefused")),
        (Added(sysctls=(("kernel.shmmax", "1"),)), ("pass", "")),
        (Added(sysctls=(("net.core.rmem_max", "1"),)), ("fail", "SysctlRefused")),
        (Added(limits=(("RLIMIT_NPROC", Limit(2, 2)),)), ("fail", "LimitTooSmall")),
        (Added(limits=(("RLIMIT_NPROC", Limit(8, 8)),)), ("pass", "")),
        (Added(limits=(("RLIMIT_FSIZE", Limit(0, 0)),)), ("fail", "LimitTooSmall")),
        (Added(limits=(("RLIMIT_CPU", Limit(0, 0)),)), ("unknown", "NotTried")),
        (Added(limits=(("RLIMIT_AS", Limit(1 << 20, 1 << 20)),)), ("fail", "LimitTooSmall")),
        (Added(limits=(("RLIMIT_AS", Limit(1 << 30, 1 << 30)),)), ("unknown", "NotTried")),
        (Added(limits=(("RLIMIT_AS", Limit(-1, -1)),)), ("pass", "")),
        (Added(limits=(("RLIMIT_DATA", Limit(0, 0)),)), ("fail", "LimitTooSmall")),
        (Added(limits=(("RLIMIT_DATA", Limit(1 << 20, 1 << 20)),)), ("pass", "")),
        (Added(limits=(("RLIMIT_STACK", Limit(8192, 8192)),)), ("fail", "LimitTooSmall")),
        (Added(limits=(("RLIMIT_STACK", Limit(32768, 32768)),)), ("unknown", "NotTried")),
        (Added(limits=(("RLIMIT_STACK", Limit(65536, 65536)),)), ("pass", "")),
        (Added(limits=(("RLIMIT_CPU", Limit(1, 1)),)), ("pass", "")),
        (Added(limits=(("pids.limit", Limit(1, 1)),)), ("fail", "LimitTooSmall")),
        (Added(limits=(("pids.limit", Limit(100, 100)),)), ("pass", "")),
        (Added(unjudged=("process.scheduler",)), ("unknown", "NotTried")),
    ],
)
def test_more_of_a_base_specification(added: Added, expected: tuple[str, str]) -> None:
    """What no container may have stops each one; what nobody judges leaves the verdict unknown."""
    handlers = (make_handler_around(added=Reading("/etc/base.json", added)),)
    assert status_of("runtime-base-spec", facts_with(handlers=handlers)) == expected


@pytest.mark.parametrize(
    "name",
    ["net.core.netdev_max_backlog", "net/ipv4/tcp_mem", "net.ipv4.neigh.default.locktime", "net.nf_conntrack_max"],
)
def test_a_sysctl_that_only_the_node_has(name: str) -> None:
    """A probe in the node's network namespace sees it, and a Pod may have none; where that is seen, it is refused."""
    for now, status in ((Reading(name, "1"), "unknown"), (absent(name), "fail")):
        added = Reading("/etc/base.json", Added(sysctls=((name, "1"),), now={name: now}))
        assert status_of("runtime-base-spec", facts_with(handlers=(make_handler_around(added=added),)))[0] == status


@pytest.mark.parametrize(
    ("sandboxer", "oci", "expected"),
    [
        ("", "runc", ("pass", "")),
        ("podsandbox", "runc", ("pass", "")),
        ("shim", "runc", ("fail", "SandboxerMissing")),
        ("shim", "youki", ("pass", "")),
        ("mine", "runc", ("pass", "")),
        ("nobody", "runc", ("fail", "SandboxerMissing")),
    ],
)
def test_what_makes_the_sandboxes_of_a_handler(sandboxer: str, oci: str, expected: tuple[str, str]) -> None:
    """containerd itself, the shim of another OCI runtime, or a proxy plugin that is configured."""
    proxies: Reading[dict[str, tuple[str, ...]]] = Reading("containerd config dump", {"mine": ()})
    facts = facts_with(oci, handlers=(make_handler_around(sandboxer=sandboxer),), proxies=proxies)
    assert status_of("runtime-parts", facts) == expected


@pytest.mark.parametrize(
    ("socket", "expected"),
    [
        (make_place("/run/mine.sock", mode=stat.S_IFSOCK | 0o600), ("pass", "")),
        (make_place("/run/mine.sock", mode=stat.S_IFREG | 0o600), ("fail", "SandboxerMissing")),
        (absent("/run/mine.sock"), ("fail", "SandboxerMissing")),
        (Reading("/run/mine.sock", None, "Permission denied", "NotPermitted"), ("unknown", "NotPermitted")),
    ],
)
def test_a_sandboxer_answers_at_a_socket(socket: Reading[Place], expected: tuple[str, str]) -> None:
    """A file that it left behind is none, and what cannot be read says nothing."""
    proxies: Reading[dict[str, tuple[str, ...]]] = Reading("containerd config dump", {"mine": ()})
    handlers = (make_handler_around(sandboxer="mine"),)
    facts = facts_with(handlers=handlers, proxies=proxies, sockets={"mine": socket})
    assert status_of("runtime-parts", facts) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"io_type": "streaming"}, ("fail", "SandboxerMissing")),
        ({"io_type": "streaming", "sandboxer": "mine"}, ("pass", "")),
        ({"io_type": "fifo"}, ("pass", "")),
    ],
)
def test_streams_of_a_handler(fields: dict[str, Any], expected: tuple[str, str]) -> None:
    """A sandboxer of its own may offer them; with that of containerd no container is made."""
    proxies: Reading[dict[str, tuple[str, ...]]] = Reading("containerd config dump", {"mine": ()})
    facts = facts_with(handlers=(make_handler_around(**fields),), proxies=proxies)
    assert status_of("runtime-parts", facts) == expected


def test_a_shim_of_another_name_may_make_sandboxes() -> None:
    """What it can do is not known, and nothing says that it cannot."""
    shim = Reading("PATH", "/usr/bin/containerd-shim-sandboxed-runc-v2")
    facts = facts_with(handlers=(make_handler_around(sandboxer="shim", shim=shim),))
    assert status_of("runtime-parts", facts) == ("unknown", "NotTried")


@pytest.mark.parametrize(
    ("options", "flags", "oci", "status"),
    [
        (("rbind", "rw"), 0, "runc", "pass"),
        (("rbind",), os.ST_RDONLY, "runc", "pass"),
        (("rbind", "rw"), os.ST_RDONLY, "runc", "fail"),
        (("rbind", "rw"), os.ST_RDONLY, "crun", "pass"),
        (("bind", "exec"), os.ST_NOEXEC, "runc", "fail"),
        (("bind", "suid"), os.ST_NOSUID, "runc", "fail"),
        (("bind", "dev"), os.ST_NODEV, "runc", "fail"),
    ],
)
def test_a_bind_mount_that_allows_more_than_its_source(
    options: tuple[str, ...], flags: int, oci: str, status: str
) -> None:
    """In a user namespace the flags of the source are locked; crun leaves them, and runc refuses."""
    mount = AddedMount(destination="/extra", options=options, source=make_place("/srv", flags=flags))
    added = Reading("/etc/base.json", Added(mounts=(mount,)))
    assert status_of("runtime-base-spec", facts_with(oci, handlers=(make_handler_around(added=added),)))[0] == status


@pytest.mark.parametrize(("option", "status"), [("size=1m", "pass"), ("noswap", "fail"), ("usrquota", "fail")])
def test_a_tmpfs_with_options_of_the_nodes_root(option: str, status: str) -> None:
    """The kernel refuses them in a user namespace."""
    added = Reading("/e", Added(mounts=(AddedMount(destination="/x", fstype="tmpfs", options=(option,)),)))
    assert status_of("runtime-base-spec", facts_with(handlers=(make_handler_around(added=added),)))[0] == status


@pytest.mark.parametrize(
    ("number", "status"), [(0, "fail"), (4095, "fail"), (4096, "pass"), (1 << 30, "pass"), (-1, "pass")]
)
def test_files_of_the_kubelet(number: int, status: str) -> None:
    """RLIMIT_FSIZE binds root, too: without files of its Pods the kubelet starts none."""
    around = make_kubelet_around(limits=Reading("limits", limits(FSIZE=number)))
    assert status_of("runtime-directories", make_facts(kubelet_around=around))[0] == status


@pytest.mark.parametrize(
    ("left", "oci", "status"),
    [(1, "runc", "fail"), (3, "crun", "pass"), (1, "crun", "fail"), (500, "runc", "pass")],
)
def test_processes_of_all_pods(left: int, oci: str, status: str) -> None:
    """pids.max of the kubelet's cgroup binds each Pod; with none left the OCI runtime cannot make a thread in it."""
    assert status_of("runtime-limits", facts_with(oci, pods_left=Reading("pids.max", left)))[0] == status
