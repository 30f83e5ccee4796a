"""Tables that `explain` prints in addition to the checks: facts known without a node, each row with its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from probe.outputs.documents import render_json
from probe.outputs.text import Cell, Page
from probe.outputs.topic_volumes import volume_document, write_volumes
from probe.tables import host_network
from probe.tables.gates import GATES, KNOWN_TO, Gate, Stage
from probe.tables.pod_limits import LIMITS
from probe.tables.pod_security import CONTROLS, SINCE
from probe.tables.version import spelled


class Topic(Struct, frozen=True):
    """A table, or several."""

    summary: str
    write: Callable[[Page, str], None]
    """Writes it for people, for the kernel of that release."""
    document: Callable[[str], Any]
    """The same for machines."""


def render_topic(name: str, release: str, *, width: int | None, colour: bool) -> str:
    """The topic *name* for people."""
    page = Page(width=width, colour=colour)
    topic = TOPICS[name]
    page.line((name, "bold"))
    page.line(topic.summary, indent=2)
    topic.write(page, release)
    return str(page)


def render_topic_json(name: str, release: str) -> str:
    """The topic *name* as JSON."""
    return render_json(TOPICS[name].document(release))


def _write_gates(page: Page, _release: str) -> None:
    for gate in GATES:
        page.heading((gate.name, "bold"), f"  {gate.about}")
        page.table([_stage(stage) for stage in gate.stages] + _gone(gate))
    page.blank()
    page.line((f"Known up to Kubernetes {spelled(KNOWN_TO)}.", "dim"))


def _stage(stage: Stage) -> list[Cell]:
    on = {True: "on", False: "off", None: "not known"}[stage.default] + (", locked" if stage.locked else "")
    return [spelled(stage.since), stage.stage, on, (stage.source, "dim")]


def _gone(gate: Gate) -> list[list[Cell]]:
    return [[spelled(gate.gone), "gone", "", ""]] if gate.gone else []


def _gates(_release: str) -> list[dict[str, Any]]:
    return [
        {
            "name": gate.name,
            "about": gate.about,
            "stages": [
                {
                    "since": spelled(one.since),
                    "stage": one.stage,
                    "default": one.default,
                    "locked": one.locked,
                    "source": one.source,
                }
                for one in gate.stages
            ],
            "gone": spelled(gate.gone) if gate.gone else None,
        }
        for gate in GATES
    ]


def _write_pod_security(page: Page, _release: str) -> None:
    version = spelled(SINCE)
    head: list[Cell] = [
        ("level", "dim"),
        ("field", "dim"),
        ("asked", "dim"),
        (f"with hostUsers: false, from policy {version} on", "dim"),
    ]
    page.blank()
    page.table([head, *([one.level, one.field, one.without, one.relaxed or "the same"] for one in CONTROLS)])
    page.blank()
    page.line(
        "The policy's version is that of the namespace's label pod-security.kubernetes.io/enforce-version; latest is "
        f"the API server's. Before {version} a policy relaxes only with the gate UserNamespacesPodSecurityStandards, "
        "which the cluster does not show.",
        indent=2,
    )
    page.line(("source  k8s.io/pod-security-admission policy/check_*.go", "dim"), indent=2)


def _pod_security(_release: str) -> list[dict[str, Any]]:
    return [
        {
            "level": one.level,
            "field": one.field,
            "asked": one.without,
            "with_user_namespace": one.relaxed or one.without,
            "since_policy": spelled(SINCE) if one.relaxed else None,
            "with_gate_since": spelled(one.gate_since) if one.gate_since else None,
            "source": one.source,
        }
        for one in CONTROLS
    ]


def _write_host_network(page: Page, _release: str) -> None:
    page.blank()
    head: list[Cell] = [("runtime", "dim"), ("runs them since", "dim"), ("says so since", "dim"), ("source", "dim")]
    rows: list[list[Cell]] = [
        [one.name, spelled(one.supports), spelled(one.says), (one.source, "dim")] for one in host_network.RUNTIMES
    ]
    page.table([head, *rows])
    page.blank()
    page.line(
        "Between the two a release runs such Pods, and no Node declares it: from 1.36 on the scheduler then finds no "
        "node. The API server refuses them in any case without the alpha gate UserNamespacesHostNetworkSupport.",
        indent=2,
    )


def _host_network(_release: str) -> list[dict[str, Any]]:
    return [
        {
            "runtime": one.name,
            "supports_since": spelled(one.supports),
            "says_since": spelled(one.says),
            "source": one.source,
        }
        for one in host_network.RUNTIMES
    ]


def _write_limits(page: Page, _release: str) -> None:
    for one in LIMITS:
        page.heading((one.subject, "bold"))
        rows: list[Sequence[Cell]] = [["", one.what]]
        rows += [[("instead", "dim"), one.instead]] if one.instead else []
        page.table([*rows, [("source", "dim"), (one.source, "dim")]])


TOPICS: dict[str, Topic] = {
    "volumes": Topic("How volumes reach a node, and which kernels can idmap them.", write_volumes, volume_document),
    "gates": Topic("Feature gates of Kubernetes that affect Pods with a user namespace.", _write_gates, _gates),
    "pod-security": Topic(
        "What Pod Security requires of Pods with hostUsers: false.", _write_pod_security, _pod_security
    ),
    "host-network": Topic(
        "hostNetwork: true with a user namespace, by container runtime.", _write_host_network, _host_network
    ),
    "pod-limits": Topic(
        "What Pods with a user namespace cannot do on any node.", _write_limits, lambda _release: list(LIMITS)
    ),
}
"""Names after `explain`."""
