"""Pods with `hostUsers: false`: the kubelet's records compared with the maps of running processes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from probe.facts.defaults import MAX_UINT32
from probe.facts.ids.records import gather_userns_files
from probe.facts.model import PodFacts, UsernsFile
from probe.host.host import Host, Process
from probe.reading import Reading, or_problem

IdMap = tuple[tuple[str, ...], ...]
"""Lines of uid_map, user_namespaces(7), each split into inside, outside, count."""

_POD_UID = re.compile(
    # The UID of a static Pod is the MD5 of its manifest; systemd's names have `_` for `-`.
    r"(?<=[/-])pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])"
)
_LOOKED_AT = 8  # maximum processes per PID namespace; the first with the map of the Pod or of the node decides


@or_problem
def gather_pods(
    host: Host,
    root_dir: str,
    processes: Sequence[Process],
    files: Reading[tuple[UsernsFile, ...]] | None = None,
) -> Reading[PodFacts]:
    """Recorded Pods below *root_dir*, compared with *processes*, all processes of the node.

    *files*: the records, if read before. Names that a Pod can choose are not kept.
    """
    files = gather_userns_files(host, f"{root_dir}/pods") if files is None else files
    found_files = files.need()
    source = f"uid_map of processes against {files.source}/*/userns"
    records = {file.pod: mapped for file in found_files if (mapped := _recorded_map(file))}
    own: dict[str, float] = {}
    ignored: set[str] = set()
    if records:
        node = host.read_text("/proc/1/uid_map").parse(_parse_own_map).need()
        if not processes:
            return Reading.without("/proc", "not-readable", "no process could be listed")
        for pids in _containers(host, processes):
            found = _judge_container(host, pids, records, node)
            if found and found[1] == node:
                ignored.add(found[0])
            elif found:
                own[found[0]] = min(own.get(found[0], math.inf), _started_at(host, pids))
    return Reading(
        source,
        PodFacts(
            recorded=len(records),
            unread=sum(file.content.value is None for file in found_files),
            own_namespace=len(own),
            youngest_started_at=max(own.values(), default=0.0),
            host_namespace=len(ignored),
            last_block=sum(map(_reaches_last_id, records.values())),
        ),
    )


def parse_pod_uids(cgroup: str) -> tuple[str, ...]:
    """UIDs of Pods in proc_pid_cgroup(5), outermost first: a node may itself run in a Pod."""
    return tuple(dict.fromkeys(found.replace("_", "-") for found in _POD_UID.findall(cgroup)))


def _containers(host: Host, processes: Sequence[Process]) -> Iterator[list[int]]:
    """Processes of each PID namespace except the node's, which holds no containers of these Pods.

    Kubernetes rejects hostPID with hostUsers: false. A process in a Pod's cgroup and the node's PID namespace is a
    container monitor (conmon), a virtual machine monitor, or a child of a runtime that is starting a container.
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
    """The Pod of these processes, and their map: the recorded one or the node's.

    None for other Pods, and for processes with neither map: a container may create user namespaces of its own.
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
    """Start time of the oldest process; the process of a sandbox is as old as its Pod."""
    return min(host.started_at(pid).value or 0.0 for pid in pids[:_LOOKED_AT])


def _recorded_pod(host: Host, pid: int, records: Mapping[str, IdMap]) -> str | None:
    cgroup = host.read_text(f"/proc/{pid}/cgroup").value or ""
    return next((uid for uid in parse_pod_uids(cgroup) if uid in records), None)


def _is_inside(host: Host, pid: int) -> bool:
    """True when the process is in a PID namespace below the node's.

    A runtime creates or enters the PID namespace after its owning user namespace, so the process has its final one.
    """
    return len((host.process_status(pid).value or {}).get("NSpid", "").split()) > 1


def _recorded_map(file: UsernsFile) -> IdMap:
    mappings = file.content.value.uid_mappings if file.content.value else ()
    return tuple((str(one.container_id), str(one.host_id), str(one.length)) for one in mappings)


def _reaches_last_id(mapped: IdMap) -> bool:
    return any(int(outside) + int(count) > MAX_UINT32 for _, outside, count in mapped)


def _parse_map(text: str) -> IdMap:
    """Lines of uid_map; empty for a user namespace without a map yet."""
    return tuple(tuple(line.split()) for line in text.splitlines())


def _parse_own_map(text: str) -> IdMap:
    if not text.split():
        raise ValueError("no map")
    return _parse_map(text)
