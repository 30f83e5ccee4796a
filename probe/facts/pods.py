"""Pods with a user namespace of their own that run here now: the best proof that they can."""

from __future__ import annotations

import re
from collections.abc import Sequence

from probe.facts.userns_files import PodUserns, parse_pod_userns
from probe.host.root import Host, Process
from probe.reading import Reading

_POD_UID = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")


def parse_pod_uid(cgroup: str) -> str | None:
    """The UID of the Pod whose cgroup proc_pid_cgroup(5) names; None outside of Pods."""
    found = _POD_UID.search(cgroup)
    return found[1].replace("_", "-") if found else None


def gather_userns_pod_runs(host: Host, root_dir: str, processes: Sequence[Process]) -> Reading[bool]:
    """Whether a process lives in the map that the kubelet has recorded for its Pod.

    Both have to agree: a container engine may make user namespaces that Kubernetes knows nothing of.
    """
    source = f"uid_map of processes against {root_dir}/pods/*/userns"
    judged: set[tuple[str, str]] = set()
    for process in processes:
        uid_map = host.read_text(f"/proc/{process.pid}/uid_map").value or ""
        if not uid_map or uid_map.split()[1:2] == ["0"]:
            continue
        uid = parse_pod_uid(host.read_text(f"/proc/{process.pid}/cgroup").value or "")
        if uid is None or (uid, uid_map) in judged:
            continue
        judged.add((uid, uid_map))
        record = host.read_beneath(root_dir, f"pods/{uid}/userns", limit=1 << 16).parse(parse_pod_userns)
        lines = [[str(m.container_id), str(m.host_id), str(m.length)] for m in (record.value or _NONE).uid_mappings]
        if lines and lines == [line.split() for line in uid_map.splitlines()]:
            return Reading(source, True)
    return Reading(source, False)


_NONE = PodUserns()
