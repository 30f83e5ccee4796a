"""What became of the Pods that asked for a user namespace: the kubelet's records against the processes that run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from probe.facts.defaults import MAX_UINT32
from probe.facts.ids.records import gather_userns_files
from probe.facts.model import PodFacts, UsernsFile
from probe.host.host import Host, Process
from probe.reading import Reading

IdMap = tuple[tuple[str, ...], ...]
"""The lines of user_namespaces(7)'s uid_map, each as its words: inside, outside, count."""

_POD_UID = re.compile(
    # Of static Pods it is the MD5 of their manifest; systemd's names have `_` for `-`.
    r"(?<=[/-])pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])"
)
_LOOKED_AT = 8  # processes of one PID namespace: the first that has the Pod's map or the node's decides


class PodFacts(Struct, frozen=True, kw_only=True):
    """How many Pods with a user namespace the kubelet has recorded, and what the kernel shows of them now."""

    recorded: int
    unread: int
    """Further Pods whose record could not be read or understood."""
    own_namespace: int
    """Of the recorded, those with a process that has the recorded IDs. It may be the sandbox's alone."""
    youngest_started_at: float = 0.0
    """When the first process of the youngest of these started, in seconds since the epoch."""
    host_namespace: int
    """Of the recorded, those with a container's process that has the node's own IDs: nobody isolated it."""
    last_block: int
    """Of the recorded, those that were given 4294967295, which is no ID: the kernel refuses their map."""


def gather_pods(
    host: Host,
    root_dir: str,
    processes: Sequence[Process],
    files: Reading[tuple[UsernsFile, ...]] | None = None,
) -> Reading[PodFacts]:
    """The recorded Pods below *root_dir*, held against *processes*, which are all of the node's.

    *files* are the records, where somebody has read them before. No name of a Pod's choosing is kept.
    """
    files = gather_userns_files(host, f"{root_dir}/pods") if files is None else files
    if files.value is None:
        return Reading(files.source, None, files.problem, files.kind)
    source = f"uid_map of processes against {files.source}/*/userns"
    records = {file.pod: mapped for file in files.value if (mapped := _recorded_map(file))}
    own: dict[str, float] = {}
    ignored: set[str] = set()
    if records:
        node = host.read_text("/proc/1/uid_map").parse(_parse_own_map)
        if node.value is None:
            return Reading(node.source, None, node.problem, node.kind)
        if not processes:
            return Reading.without("/proc", "not-readable", "no process could be listed")
        for pids in _containers(host, processes):
            found = _judge_container(host, pids, records, node.value)
            if found and found[1] == node.value:
                ignored.add(found[0])
            elif found:
                own[found[0]] = min(own.get(found[0], math.inf), _started_at(host, pids))
    return Reading(
        source,
        PodFacts(
            recorded=len(records),
            unread=sum(file.content.value is None for file in files.value),
            own_namespace=len(own),
            youngest_started_at=max(own.values(), default=0.0),
            host_namespace=len(ignored),
            last_block=sum(map(_reaches_last_id, records.values())),
        ),
    )


def parse_pod_uids(cgroup: str) -> tuple[str, ...]:
    """The UIDs of Pods that proc_pid_cgroup(5) names, the outermost first: a node may itself live in a Pod."""
    return tuple(dict.fromkeys(found.replace("_", "-") for found in _POD_UID.findall(cgroup)))


def _containers(host: Host, processes: Sequence[Process]) -> Iterator[list[int]]:
    """The processes of each PID namespace but the node's: nowhere else do containers of these Pods run.

    Kubernetes allows no hostPID beside hostUsers: false. In a Pod's cgroup and the node's PID namespace live the
    monitors of containers (conmon), virtual machine monitors, and what a runtime is just starting.
    """
    node = host.read_link("/proc/1/ns/pid").value
    found: dict[str, list[int]] = {}
    for process in processes:
        namespace = host.read_link(f"/proc/{process.pid}/ns/pid")
        if namespace.kind != "absent" and (namespace.value is None or namespace.value != node):
            found.setdefault(namespace.value or f"of {process.pid}", []).append(process.pid)
    yield from found.values()


def _judge_container(
    host: Host, pids: Sequence[int], records: Mapping[str, IdMap], node: IdMap
) -> tuple[str, IdMap] | None:
    """The Pod to which these processes belong, and the map in which they live: the recorded one or the node's.

    None for other Pods, and where neither map is found: a container may make user namespaces of its own.
    """
    pod = _recorded_pod(host, pids[0], records)
    if pod is None:
        return None
    for pid in pids[:_LOOKED_AT]:
        uid_map = host.read_text(f"/proc/{pid}/uid_map").parse(_parse_map).value
        if uid_map == records[pod]:
            return pod, uid_map
        if uid_map == node and _is_inside(host, pid) and _recorded_pod(host, pid, records) == pod:
            return pod, uid_map
    return None


def _started_at(host: Host, pids: Sequence[int]) -> float:
    """When the first of them started: that of a sandbox is as old as the Pod."""
    return min(host.started_at(pid).value or 0.0 for pid in pids[:_LOOKED_AT])


def _recorded_pod(host: Host, pid: int, records: Mapping[str, IdMap]) -> str | None:
    cgroup = host.read_text(f"/proc/{pid}/cgroup").value or ""
    return next((uid for uid in parse_pod_uids(cgroup) if uid in records), None)


def _is_inside(host: Host, pid: int) -> bool:
    """Whether it lives in a PID namespace below the node's.

    A runtime makes that one, or enters it, after the user namespace that owns it: so this process has the user
    namespace that it will keep.
    """
    return len((host.process_status(pid).value or {}).get("NSpid", "").split()) > 1


def _recorded_map(file: UsernsFile) -> IdMap:
    mappings = file.content.value.uid_mappings if file.content.value else ()
    return tuple((str(one.container_id), str(one.host_id), str(one.length)) for one in mappings)


def _reaches_last_id(mapped: IdMap) -> bool:
    return any(int(outside) + int(count) > MAX_UINT32 for _, outside, count in mapped)


def _parse_map(text: str) -> IdMap:
    """Empty for a user namespace that nobody has mapped yet."""
    return tuple(tuple(line.split()) for line in text.splitlines())


def _parse_own_map(text: str) -> IdMap:
    if not text.split():
        raise ValueError("no map")
    return _parse_map(text)
