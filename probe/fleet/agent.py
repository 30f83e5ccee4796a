"""Validity of the annotations that an agent left on a Node, and the verdict that they give. Pure."""

from __future__ import annotations

from typing import get_args

from probe.fleet import wire_nodes
from probe.fleet.rows import Agent
from probe.outputs.annotations import FIELD_MANAGER
from probe.outputs.staleness import parse_time
from probe.pod.annotations import contradicts, pairs
from probe.publish.schedule import CLOCK_SKEW
from probe.verdict import Verdict

OLDEST = 86400.0
"""Seconds after which annotations are stale: they are refreshed every six hours."""
VIRTUAL = "virtual-kubelet"
VIRTUAL_TAINT = "virtual-kubelet.io/provider"
_VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_ANSWERS = {
    "missing": "AgentMissing",
    "stale": "ReportStale",
    "other-boot": "OtherBoot",
    "malformed": "Malformed",
    "foreign": "WrittenByOthers",
    "future": "ClocksDiffer",
}
"""Agent -> reason of the verdict `unknown`."""


def agent_of(node: wire_nodes.Node, now: float) -> Agent:
    """Validity of the annotations of *node* at *now*, in seconds since the epoch."""
    said = node.metadata.annotations
    if node.status.node_info.os == "windows" or _is_virtual(node):
        return "not-applicable"
    if said is None or not said.verdict:
        return "missing"
    levels = pairs(said.levels)
    if said.verdict not in _VERDICTS or contradicts(said.verdict, levels):
        return "malformed"
    written = parse_time(said.refreshed_at)
    if written is None:
        return "malformed"
    if not _ours(said, node.metadata.managed_fields):
        return "foreign"
    if not said.boot_id or said.boot_id != node.status.node_info.boot_id:
        return "other-boot"
    if written - now > CLOCK_SKEW:
        return "future"
    return "stale" if now - written > OLDEST else "fresh"


def _is_virtual(node: wire_nodes.Node) -> bool:
    """By the label or the taint that the library of Virtual Kubelet sets by default."""
    taints = (taint.key for taint in node.spec.taints or ())
    return (node.metadata.labels or {}).get("type") == VIRTUAL or VIRTUAL_TAINT in taints


def _ours(said: wire_nodes.OwnAnnotations, entries: list[wire_nodes.Managed] | None) -> bool:
    """Whether our field manager alone owns each annotation of ours; true when the server does not tell any owner."""
    owners: dict[str, set[str]] = {key: set() for name, key in wire_nodes.OWN_KEYS.items() if getattr(said, name)}
    for entry in entries or ():
        for key in _owned(entry.fields) & owners.keys():
            owners[key].add(entry.manager)
    return all(managers == {FIELD_MANAGER} for managers in owners.values()) if entries else True


def _owned(fields: wire_nodes.ManagedFields | None) -> set[str]:
    annotations = fields.metadata.annotations if fields and fields.metadata else None
    return {key.removeprefix("f:") for key in annotations or ()}


def verdict_of(agent: Agent, said: wire_nodes.OwnAnnotations | None, node: wire_nodes.Node) -> tuple[Verdict, str]:
    """The verdict of a Node and its reason, which is empty when it is ready."""
    if node.status.node_info.os == "windows":
        return "not-ready", "WindowsNode"
    if agent == "not-applicable":
        return "unknown", "VirtualKubelet"
    if agent != "fresh" or said is None:
        return "unknown", _ANSWERS[agent]
    verdict: Verdict = next(one for one in _VERDICTS if one == said.verdict)
    return verdict, "" if verdict == "ready" else said.reason or "Other"
