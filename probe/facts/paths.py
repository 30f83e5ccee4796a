"""Attempts on paths named by the user."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence

import msgspec

from probe.facts.defaults import BLOCK
from probe.facts.filesystems import attempts
from probe.facts.filesystems.meaning import not_tried
from probe.facts.filesystems.rules import Subject
from probe.facts.gather import FACTS_LIMIT, new_bench, node_host
from probe.facts.kernel import gather_kernel, gather_probe
from probe.facts.tried import Attempt, Doubt, doubt_of
from probe.host.child import ChildError, run_child
from probe.host.host import Host
from probe.host.mount_table import MountTable
from probe.host.mountinfo import Mount, is_served, parse_mountinfo, printable
from probe.host.namespaces import enter_mount_namespace, enter_node, open_own_proc
from probe.reading import Reading, encode
from probe.settings import Settings

_RUNTIMES = ("containerd", "crio")
_LEVELS = 64
"""Most directories above a path that are looked at."""
_AUTOMOUNT = "an automount that is not mounted; a closer look would mount it"


def gather_paths(
    settings: Settings, paths: Sequence[str], oci_runtime: str = "", made: bool = False
) -> tuple[Attempt, ...]:
    """Attempt for each absolute path, judged for *oci_runtime*, or for all runtimes if empty.

    *made*: for a path that does not exist the attempt is at the directory above on which it would be made. All are
    unknown when the child that tries them times out or dies.
    """
    budget = settings.budget.total_seconds()
    try:
        answer = run_child(
            lambda: encode(_try_paths(settings, paths, oci_runtime, made)), budget + 1, limit=FACTS_LIMIT
        )
        return msgspec.json.decode(answer, type=tuple[Attempt, ...])
    except TimeoutError:
        return _unknown(paths, "timed-out", f"the process that tries it did not answer within {budget:g} seconds")
    except (ChildError, OSError, ValueError) as error:
        return _unknown(paths, "not-readable", f"the process that tries it failed: {error}")


def find_paths(
    host: Host, mounts: Sequence[Mount], paths: Sequence[str], held: frozenset[str], made: bool = False
) -> Iterator[Subject | Attempt]:
    """Subject for each path, or an unknown row with the reason; no automount is triggered.

    *made*: see `gather_paths`. A mount point is used without a lookup, and a hung server is waited for only once.
    """
    table, silent = MountTable(mounts), set(held)
    tops = {mount.mount_point: table.mount_of(mount.mount_point) for mount in mounts if mount.fstype == "autofs"}
    automounts = [point for point, top in tops.items() if top and top.fstype == "autofs"]
    for path in paths:
        plain = _plain(path)
        mount, server = (table.mount_of(plain), table.server_above(plain)) if plain else (None, "")
        reading = Reading("mount table", plain)
        if mount is None or mount.mount_point != plain:
            reading = host.resolve(path, automounts) if server not in silent else _silent(path)
        if reading.kind == "timed-out":
            reading = _silent(path)
            silent |= {server} - {""}
        subject = attempts.subject_of(table, "path", reading.value or plain)
        above = _directory_above(host, plain, automounts) if made and reading.kind == "absent" else ""
        if above:
            yield attempts.subject_of(table, "path", above)
        elif reading.value is None:
            # For a failed lookup, the mount table only tells whether the path begins on a hung server.
            known = bool(plain) and reading.kind == "timed-out" and is_served(subject.fstype)
            yield not_tried(subject if known else _nowhere(path), doubt_of(reading.kind), reading.problem)
        elif reading.value in automounts:
            yield not_tried(msgspec.structs.replace(subject, path=path), "not-tried", _AUTOMOUNT)
        else:
            yield subject


def _directory_above(host: Host, plain: str, automounts: Sequence[str]) -> str:
    """The nearest directory above *plain* that exists; empty where a symlink leads nowhere, or that is not known."""
    for _ in range(_LEVELS):
        if plain in ("", "/") or host.read_link(plain).value is not None:
            return ""
        plain = os.path.dirname(plain)
        reading = host.resolve(plain, automounts)
        if reading.value is not None and reading.value not in automounts:
            status = host.status(reading.value).value
            return reading.value if status and stat.S_ISDIR(status.mode) else ""
        if reading.value is not None or reading.kind != "absent":
            return ""
    return ""


def _try_paths(settings: Settings, paths: Sequence[str], oci_runtime: str, made: bool) -> tuple[Attempt, ...]:
    deadline = time.monotonic() + settings.budget.total_seconds()
    own_proc = open_own_proc()
    entered = enter_node(settings.proc)
    if entered.value:
        enter_runtime(settings, deadline)
    host = node_host(settings, deadline)
    probe, kernel = gather_probe(host, entered), gather_kernel(host)
    mounts = host.mountinfo("self").parse(parse_mountinfo)
    if mounts.value is None:
        return _unknown(paths, doubt_of(mounts.kind), f"the mount table was not read: {mounts.problem}")
    userns_fd, namespace = attempts.attempt_namespace(probe, own_proc)
    bench = new_bench(settings, userns_fd, deadline, prepare=lambda: None)
    held = attempts.held_devices(host.processes().value or (), host)
    found = list(find_paths(host, mounts.value, paths, held, made))
    present = [each for each in found if isinstance(each, Subject)]
    if userns_fd < 0:
        why = f"no user namespace could be made to try it with: {namespace.reason}"
        rows = [
            not_tried(each, namespace.kind or "not-tried", why) if isinstance(each, Subject) else each for each in found
        ]
        return tuple(msgspec.structs.replace(row, path=printable(row.path)) for row in rows)
    *present_rows, tmpfs = attempts.try_subjects(bench, [*present, attempts.TMPFS], MountTable(mounts.value), held)
    tried = iter(present_rows)
    answers = [next(tried) if isinstance(each, Subject) else (_nowhere(each.path), each) for each in found]
    judged = attempts.judge([*answers, tmpfs], bench, probe, kernel, oci_runtime)
    return tuple(_with_type(host, with_owner(host, row)) for row in judged[: len(paths)])


def enter_runtime(settings: Settings, deadline: float) -> None:
    """Enter the mount namespace in which the node's container runtime binds paths, where that is one of its own."""
    finder = node_host(settings, deadline)
    try:
        link = runtime_namespace(finder)
    finally:
        finder.close()
    if link:
        enter_mount_namespace(link)


def runtime_namespace(host: Host) -> str:
    """`/proc/PID/ns/mnt` of the container runtimes of the node; empty where they have the node's own, or differ."""
    links: dict[str, str] = {}
    for process in host.processes().value or ():
        if process.name in _RUNTIMES and host.node_daemon(process.pid).value:
            path = f"/proc/{process.pid}/ns/mnt"
            links.setdefault(host.read_link(path).value or "", path)
    own = host.read_link("/proc/self/ns/mnt").value
    (namespace, path) = next(iter(links.items()), ("", ""))
    return path if len(links) == 1 and namespace and own and namespace != own else ""


def with_owner(host: Host, row: Attempt) -> Attempt:
    """*row*, usable in part where the owner of the path has no ID in a Pod: there its files are nobody's."""
    if row.result != "supported" or not row.path or row.mounts_below or is_served(row.fstype):
        return row
    # Not by our own pid: without hostPID, it is that of another process in the node's /proc.
    place = host.places("self", [row.path])[row.path].value
    if place is None or max(place.uid, place.gid) < BLOCK:
        return row
    reason = f"its owner {place.uid}:{place.gid} has no ID in a Pod, where such files are nobody's (UID 65534)"
    return msgspec.structs.replace(row, usable="partly", reason=reason)


def _with_type(host: Host, row: Attempt) -> Attempt:
    """*row*, with the type of the file at the path where the file system has answered before."""
    status = host.status(row.path).value if row.result != "unknown" else None
    return msgspec.structs.replace(row, file_type=stat.S_IFMT(status.mode)) if status else row


def _silent(path: str) -> Reading[str]:
    return Reading.without(path, "timed-out", "timed out: its server does not answer")


def _plain(path: str) -> str:
    """*path* without doubled slashes and `.`; empty with `..`, whose target depends on symlinks."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    return "" if ".." in names else "/" + "/".join(names)


def _nowhere(path: str) -> Subject:
    """Subject for a path of unknown file system."""
    return Subject(role="path", path=path, fstype="", device="")


def _unknown(paths: Sequence[str], kind: Doubt, why: str) -> tuple[Attempt, ...]:
    return tuple(not_tried(_nowhere(printable(path)), kind, why) for path in paths)
