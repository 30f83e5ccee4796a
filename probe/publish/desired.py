"""What is to stand on the Node, what stands there, and what is left to do about it: pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from probe import __version__
from probe.outputs.annotations import (
    CONDITION,
    LABEL,
    PREFIX,
    Condition,
    Event,
    node_annotations,
    node_condition,
    node_label,
)
from probe.outputs.staleness import STALE, parse_time
from probe.proof import Proof
from probe.publish.api.client import EVENT_NAMESPACE, FIELD_MANAGER
from probe.publish.parts import Part
from probe.report import Node, Report, ReportFacts
from probe.verdict import Verdict

REFRESHED_AT = f"{PREFIX}refreshed-at"


class Wanted(Struct, frozen=True, kw_only=True):
    """What is to stand on the Node, without the times."""

    verdict: Verdict
    annotations: dict[str, str]
    labels: dict[str, str]
    condition: Condition | None


class Standing(Struct, frozen=True, kw_only=True):
    """What of ours stands on the Node."""

    verdict: Verdict | None
    """What consumers read there; None without a verdict."""
    boot_id: str
    annotations: dict[str, str]
    """Those that this field manager owns; so are the labels."""
    labels: dict[str, str]
    condition: dict[str, Any] | None
    owns_condition: bool
    refreshed_at: float | None
    """Seconds since the epoch."""
    uid: str


def want(report: Report, parts: frozenset[Part]) -> Wanted:
    """What *report* asks to stand on the Node."""
    return Wanted(
        verdict=report.verdict,
        annotations=node_annotations(report) if "annotations" in parts else {},
        labels=node_label(report) if "label" in parts else {},
        condition=node_condition(report) if "condition" in parts else None,
    )


def absent_report(node_name: str, boot_id: str) -> Report:
    """What is said while this boot has no report: nothing is known."""
    facts = ReportFacts(
        kernel_release="",
        architecture="",
        kubelet_version="",
        kubelet_distribution="",
        runtime_name="",
        runtime_version="",
        snapshotter="",
        oci_runtimes=(),
    )
    return Report(
        agent_version=__version__,
        node=Node(name=node_name, boot_id=boot_id, distribution=""),
        probed_at="",
        expires_at="",
        confirmed_at=None,
        duration_seconds=0.0,
        verdict="unknown",
        reason=STALE,
        message="no probe of this boot has written a report yet",
        levels={},
        handlers=(),
        findings=(),
        filesystems=(),
        volumes=(),
        id_ranges=(),
        forecast=None,
        contradictions=(),
        proof=Proof(),
        facts=facts,
    )


def parse_standing(node: Any) -> Standing:
    """What of ours is on *node*, a Node as JSON; what is malformed counts as absent."""
    annotations, labels = (_texts(_at(node, "metadata", name)) for name in ("annotations", "labels"))
    condition = _condition(node)
    owned, owned_status = _owned(node, "", "f:metadata"), _owned(node, "status", "f:status")
    heartbeat = condition.get("lastHeartbeatTime") if condition else None
    refreshed_at = annotations.get(REFRESHED_AT) or (heartbeat if isinstance(heartbeat, str) else "")
    return Standing(
        verdict=_verdict(annotations, labels, condition),
        boot_id=annotations.get(f"{PREFIX}boot-id", ""),
        annotations={key: annotations[key] for key in _names(owned.get("f:annotations")) if key in annotations},
        labels={key: labels[key] for key in _names(owned.get("f:labels")) if key in labels},
        condition=condition,
        owns_condition=f'k:{{"type":"{CONDITION}"}}' in _mapping(owned_status.get("f:conditions")),
        refreshed_at=parse_time(refreshed_at),
        uid=str(_at(node, "metadata", "uid") or ""),
    )


def is_settled(wanted: Wanted, standing: Standing) -> tuple[bool, bool]:
    """Whether the Node's metadata, and its status, have nothing left to write."""
    annotations = {key: value for key, value in standing.annotations.items() if key != REFRESHED_AT}
    metadata = annotations == wanted.annotations and standing.labels == wanted.labels
    if wanted.condition is None:
        return metadata, not standing.owns_condition
    said = standing.condition or {}
    same = all(said.get(name) == getattr(wanted.condition, name) for name in wanted.condition.__struct_fields__)
    return metadata, standing.owns_condition and same


def render_metadata(wanted: Wanted, now: float) -> dict[str, Any]:
    """Annotations and labels to apply; nothing at all retracts them. *Units*: seconds since the epoch."""
    metadata: dict[str, Any] = {}
    if wanted.annotations:
        metadata["annotations"] = wanted.annotations | {REFRESHED_AT: render_time(now)}
    if wanted.labels:
        metadata["labels"] = wanted.labels
    return metadata


def render_condition(wanted: Condition, standing: Standing, now: float) -> dict[str, Any]:
    """The condition to apply, whose transition is as old as its status. *Units*: seconds since the epoch."""
    said = standing.condition or {}
    since = said.get("lastTransitionTime")
    kept = said.get("status") == wanted.status and isinstance(since, str) and parse_time(since) is not None
    times = {"lastHeartbeatTime": render_time(now), "lastTransitionTime": since if kept else render_time(now)}
    return {name: getattr(wanted, name) for name in wanted.__struct_fields__} | times


def render_event(event: Event, *, name: str, node_name: str, uid: str, now: float) -> dict[str, Any]:
    """The core/v1 Event about the Node, as `kubectl describe node` finds it. *Units*: seconds since the epoch."""
    moment = render_time(now)
    return {
        "metadata": {"name": f"{FIELD_MANAGER}.{name}", "namespace": EVENT_NAMESPACE},
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": uid},
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "source": {"component": FIELD_MANAGER, "host": node_name},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def render_time(seconds: float) -> str:
    """RFC 3339 in UTC, as the API server writes times."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _verdict(
    annotations: Mapping[str, str], labels: Mapping[str, str], condition: Mapping[str, Any] | None
) -> Verdict | None:
    words: dict[object, Verdict] = {
        "ready": "ready", "not-ready": "not-ready", "unknown": "unknown", "true": "ready", "false": "not-ready",
        "True": "ready", "False": "not-ready", "Unknown": "unknown",
    }  # fmt: skip
    said = annotations.get(f"{PREFIX}verdict") or labels.get(LABEL) or (condition or {}).get("status")
    return words.get(said) if isinstance(said, str) else None


def _condition(node: Any) -> dict[str, Any] | None:
    conditions = _at(node, "status", "conditions")
    for condition in conditions if isinstance(conditions, list) else ():
        if _mapping(condition).get("type") == CONDITION:
            return dict(condition)
    return None


def _owned(node: Any, subresource: str, field: str) -> Mapping[str, Any]:
    """The part *field* of the fields that we applied."""
    entries = _at(node, "metadata", "managedFields")
    for entry in entries if isinstance(entries, list) else ():
        own = _mapping(entry)
        if (own.get("manager"), own.get("operation"), own.get("subresource") or "") == (
            FIELD_MANAGER,
            "Apply",
            subresource,
        ):
            return _mapping(_at(own, "fieldsV1", field))
    return {}


def _names(fields: Any) -> list[str]:
    return [name[2:] for name in _mapping(fields) if name.startswith("f:")]


def _texts(value: Any) -> dict[str, str]:
    return {key: text for key, text in _mapping(value).items() if isinstance(text, str)}


def _at(value: Any, *path: str) -> Any:
    for name in path:
        value = _mapping(value).get(name)
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
