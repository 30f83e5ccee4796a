"""The kubelets' counters, from Prometheus: one query for all nodes. No kubelet is asked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import httpx2
import msgspec
from msgspec import Struct

from probe.fleet.rows import EvidenceRow, NodeRow
from probe.publish.api.client import failures
from probe.publish.api.interface import UNREACHABLE, Failure
from probe.publish.api.transport import Guard

WINDOW = "1d"
"""Time over which the counters' increase counts."""
LIMIT = 64 << 20
"""Maximum bytes of an answer: 15,000 nodes need about 5 MB."""
ATTEMPTS, ERRORS = "kubelet_started_user_namespaced_pods_total", "kubelet_started_user_namespaced_pods_errors_total"
"""Attempts to start the sandbox of such a Pod, and those that failed for any reason. *Source*: KEP-127; ALPHA, 1.34."""
LEAST = 3
"""Attempts of which all must have failed for a contradiction: fewer can be one bad Pod."""


def _each(name: str, metric: str) -> str:
    return f'label_replace(sum by (node, instance) (increase({metric}[{WINDOW}])), "counter", "{name}", "", "")'


QUERY = f"{_each('attempts', ATTEMPTS)} or {_each('errors', ERRORS)}"


class _Sample(Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _Data(Struct, rename="camel"):
    result_type: str = ""
    result: list[_Sample] = []


class _Answer(Struct):
    status: str
    data: _Data | None = None
    error: str = ""


def query(url: str, silence: float = 10.0, deadline: float = 60.0) -> list[tuple[str, str, float]]:
    """(Node, `attempts` or `errors`, increase) of every node in the Prometheus at *url*. *Errors*: Failure.

    The node is the label `node`, or the host in `instance` where scraping sets none.
    """
    with failures():
        context = httpx2.create_ssl_context()
        guard = Guard(context, deadline=deadline, limit=lambda _: LIMIT, judge=lambda _, body: body)
        with httpx2.Client(transport=guard, timeout=httpx2.Timeout(silence)) as client:
            answer = client.get(f"{url.rstrip('/')}/api/v1/query", params={"query": QUERY})
    return samples(answer.status_code, answer.content)


def samples(status: int, content: bytes) -> list[tuple[str, str, float]]:
    """The samples of an answer of Prometheus. *Errors*: Failure."""
    try:
        told = msgspec.json.decode(content, type=_Answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Failure(0, UNREACHABLE, f"HTTP status {status}, and no answer of Prometheus") from error
    if status != 200 or told.status != "success" or told.data is None or told.data.result_type != "vector":
        raise Failure(0, UNREACHABLE, f"Prometheus says: {told.error[:300] or 'no vector'}")
    found = []
    for sample in told.data.result:
        value = _number(sample.value[1])
        node = sample.metric.get("node") or sample.metric.get("instance", "").rpartition(":")[0]
        if value is not None and node:
            found.append((node, sample.metric.get("counter", ""), value))
    return found


def evidence_rows(found: Iterable[tuple[str, str, float]], nodes: Iterable[NodeRow]) -> tuple[EvidenceRow, ...]:
    """Counters of known nodes with their verdicts, by name; nodes without attempts are left out."""
    counters: dict[str, dict[str, float]] = {}
    for node, counter, value in found:
        each = counters.setdefault(node, {})
        each[counter] = each.get(counter, 0.0) + value
    return tuple(
        EvidenceRow(
            node=row.name,
            verdict=row.verdict,
            attempts=round(said.get("attempts", 0.0), 1),
            errors=round(said.get("errors", 0.0), 1),
            contradiction=_contradicts(row, said),
        )
        for row in sorted(nodes, key=lambda row: row.name)
        if (said := counters.get(row.name)) and (said.get("attempts") or said.get("errors"))
    )


def _contradicts(row: NodeRow, said: dict[str, float]) -> bool:
    attempts, errors = said.get("attempts", 0.0), said.get("errors", 0.0)
    return row.verdict == "ready" and attempts >= LEAST and errors >= attempts


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
