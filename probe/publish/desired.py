"""Desired state of the Node, its observed state and their difference. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from probe import __version__
from probe.outputs.annotations import (
    CONDITION,
    FIELD_MANAGER,
    LABEL,
    LABEL_KEYS,
    LABEL_VALUES,
    PREFIX,
    Condition,
    Event,
    node_annotations,
    node_condition,
    node_label,
)
from probe.outputs.memory import REMEMBERED
from probe.outputs.staleness import STALE, parse_time
from probe.proof import Proof
from probe.publish.api.interface import EVENT_NAMESPACE
from probe.publish.owners import REFRESHED_AT, owned_by_us
from probe.publish.parts import Part
from probe.report import Node, Report, ReportFacts
from probe.untyped import at, list_of, mapping
from probe.verdict import Verdict

_UNCOMPARED = REMEMBERED | {REFRESHED_AT}


class Desired(Struct, frozen=True, kw_only=True):
    """The state that a report asks of the Node, without times."""

    verdict: Verdict
    annotations: dict[str, str]
    labels: dict[str, str]
    condition: Condition | None


class Observed(Struct, frozen=True, kw_only=True):
    """The part of the Node that userns-probe owns."""

    verdict: Verdict | None
    """The verdict that consumers read on the Node; None without one."""
    boot_id: str
    annotations: dict[str, str]
    """Annotations that are ours by `owners`; the same holds for labels."""
    labels: dict[str, str]
    condition: dict[str, Any] | None
    owns_condition: bool
    refreshed_at: float | None
    """Seconds since the epoch."""
    uid: str
    foreign: frozenset[str] = frozenset()
    """Names of our annotations that another field manager wrote."""


def desired_of(report: Report, parts: frozenset[Part], known: Verdict = "unknown") -> Desired:
    """Desired state of the Node after *report*. *known*: the last verdict of this boot that was not unknown."""
    annotations = node_annotations(report)
    kept = annotations if "annotations" in parts else LABEL_KEYS if "label" in parts else ()
    return Desired(
        verdict=report.verdict,
        annotations={key: value for key, value in annotations.items() if key in kept},
        labels=node_label(report, known) if "label" in parts else {},
        condition=node_condition(report) if "condition" in parts else None,
    )


def remembering(desired: Desired, annotations: Mapping[str, str], parts: frozenset[Part]) -> Desired:
    """*desired* with the *annotations* that keep the history, to be written; compare without them."""
    if "annotations" not in parts:
        return desired
    return replace(desired, annotations=desired.annotations | dict(annotations))


def absent_report(node_name: str, boot_id: str) -> Report:
    """Report published while this boot has none: its verdict is unknown."""
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
        since=None,
        previous=None,
        changes=(),
        changes_problem="",
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
        forecasts=(),
        contradictions=(),
        proof=Proof(),
        facts=facts,
        nested=None,
        devices=(),
    )


def parse_observed(node: Any) -> Observed:
    """Observed state of *node*, a Node as JSON; malformed fields count as absent."""
    annotations, labels = (_texts(at(node, "metadata", name)) for name in ("annotations", "labels"))
    condition = _condition(node)
    own = owned_by_us(node)
    heartbeat = condition.get("lastHeartbeatTime") if condition else None
    refreshed_at = annotations.get(REFRESHED_AT) or (heartbeat if isinstance(heartbeat, str) else "")
    return Observed(
        verdict=_verdict(annotations, labels, condition),
        boot_id=annotations.get(f"{PREFIX}boot-id", ""),
        annotations={key: text for key, text in annotations.items() if key in own.annotations},
        labels={key: text for key, text in labels.items() if key in own.labels},
        condition=condition,
        owns_condition=condition is not None and own.condition,
        refreshed_at=parse_time(refreshed_at),
        uid=str(at(node, "metadata", "uid") or ""),
        foreign=frozenset(key for key in annotations if key.startswith(PREFIX) and key not in own.annotations),
    )


def labelled(observed: Observed, boot_id: str) -> Verdict:
    """The verdict that our own label tells of the boot *boot_id*; unknown without such a label."""
    verdicts: dict[str, Verdict] = {value: verdict for verdict, value in LABEL_VALUES.items()}
    told = verdicts.get(observed.labels.get(LABEL, ""), "unknown")
    return told if boot_id and observed.boot_id == boot_id else "unknown"


def in_sync(desired: Desired, observed: Observed) -> tuple[bool, bool]:
    """(metadata, status): True for a half of the Node that is as desired, refresh times and the history aside."""
    annotations = {key: value for key, value in observed.annotations.items() if key not in _UNCOMPARED}
    metadata = annotations == desired.annotations and observed.labels == desired.labels
    if desired.condition is None:
        return metadata, not observed.owns_condition
    said = observed.condition or {}
    same = all(said.get(name) == getattr(desired.condition, name) for name in desired.condition.__struct_fields__)
    return metadata, observed.owns_condition and same


def render_metadata(desired: Desired, now: float) -> dict[str, Any]:
    """Annotations and labels to apply; empty to retract them. *now* in seconds since the epoch."""
    metadata: dict[str, Any] = {}
    if desired.annotations:
        metadata["annotations"] = desired.annotations | {REFRESHED_AT: render_time(now)}
    if desired.labels:
        metadata["labels"] = desired.labels
    return metadata


def render_condition(desired: Condition, observed: Observed, now: float) -> dict[str, Any]:
    """The condition to apply; its transition time changes with its status only. *now* in seconds since the epoch."""
    said = observed.condition or {}
    since = said.get("lastTransitionTime")
    kept = said.get("status") == desired.status and isinstance(since, str) and parse_time(since) is not None
    times = {"lastHeartbeatTime": render_time(now), "lastTransitionTime": since if kept else render_time(now)}
    return {name: getattr(desired, name) for name in desired.__struct_fields__} | times


def render_event(event: Event, *, name: str, node_name: str, uid: str, now: float) -> dict[str, Any]:
    """The core/v1 Event about the Node, as `kubectl describe node` finds it. *now* in seconds since the epoch."""
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
    for condition in list_of(at(node, "status", "conditions")):
        if mapping(condition).get("type") == CONDITION:
            return dict(condition)
    return None


def _texts(value: Any) -> dict[str, str]:
    return {key: text for key, text in mapping(value).items() if isinstance(text, str)}
