"""The inventory as OpenReports: a List of `openreports.io/v1alpha1` Reports on stdout, which we never write ourselves.

One result for each workload: one for each Pod would not fit into etcd's 1.5 MiB. *Source*: openreports/reports-api.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from probe.fleet.inventory import Inventory
from probe.fleet.outputs.documents import encode
from probe.fleet.outputs.words import TITLES, why
from probe.fleet.rows import List, WorkloadRow
from probe.outputs.staleness import parse_time

RESULTS = 500
"""Results of one Report, of about 1 kB each."""
SOURCE, POLICY = "userns-probe", "user-namespaces"
_RESULTS: dict[List, str] = {
    "isolated": "pass",
    "fails": "fail",
    "asked-unknown": "error",
    "movable": "warn",
    "blocked": "skip",
    "unknown": "error",
}
"""`error` is OpenReports' word for what could not be evaluated."""
_KINDS = ("pass", "fail", "warn", "error", "skip")
_API = {
    "Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "ReplicaSet": "apps/v1",
    "Job": "batch/v1", "CronJob": "batch/v1", "Pod": "v1", "StaticPod": "v1",
}  # fmt: skip


def render_openreports(inventory: Inventory) -> str:
    """A List of Reports as JSON, which `kubectl apply -f -` takes: per namespace one, or several."""
    by_namespace: dict[str, list[WorkloadRow]] = {}
    for row in inventory.workloads:
        by_namespace.setdefault(row.namespace, []).append(row)
    items = [
        _report(inventory, namespace, rows[first : first + RESULTS], first // RESULTS)
        for namespace, rows in sorted(by_namespace.items())
        for first in range(0, len(rows), RESULTS)
    ]
    return f"{encode({'apiVersion': 'v1', 'kind': 'List', 'items': items})}\n"


def _report(inventory: Inventory, namespace: str, rows: list[WorkloadRow], index: int) -> dict[str, Any]:
    counts = Counter(_RESULTS[row.list] for row in rows)
    seconds = int(parse_time(inventory.taken_at) or 0)
    labels = {"app.kubernetes.io/managed-by": SOURCE}
    return {
        "apiVersion": "openreports.io/v1alpha1",
        "kind": "Report",
        "metadata": {
            "name": f"userns-probe-fleet{(index and f'-{index + 1}') or ''}",
            "namespace": namespace,
            "labels": labels,
        },
        "source": SOURCE,
        "summary": {kind: counts[kind] for kind in _KINDS},
        "results": [_result(row, seconds) for row in rows],
    }


def _result(row: WorkloadRow, seconds: int) -> dict[str, Any]:
    kind = "Pod" if row.kind == "StaticPod" else row.kind
    subject = {"kind": kind, "namespace": row.namespace, "name": row.name}
    return {
        "policy": POLICY,
        "rule": row.list,
        "result": _RESULTS[row.list],
        "scored": row.asking > 0,
        "timestamp": {"seconds": seconds, "nanos": 0},
        "resources": [subject | ({"apiVersion": _API[row.kind]} if row.kind in _API else {})],
        "message": f"{TITLES[row.list]}{': ' if why(row) else ''}{why(row)}",
        "properties": {
            "pods": str(row.pods),
            "asking": str(row.asking),
            "isolated": str(row.running_isolated),
            "confined": str(row.confined).lower(),
            "reachableNodes": str(row.reachable),
        },
    }
