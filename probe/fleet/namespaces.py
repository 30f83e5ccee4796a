"""Namespaces: their Pod Security levels, and what `hostUsers: false` changes in them. Pure.

*Source*: the table of probe.tables.pod_security.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from probe.fleet import wire
from probe.fleet.rows import NamespaceRow, WorkloadRow
from probe.outputs.labels import shown
from probe.tables.gates import POD_SECURITY
from probe.tables.pod_security import LEVELS, SINCE, WORDS, asked

_PREFIX = "pod-security.kubernetes.io/"
DEFAULT = "default (not visible)"
_VERSION = re.compile(r"v?1\.(\d{1,3})(?:\D|$)")
SHOWN = 120


def namespace_row(meta: wire.Meta, server: tuple[int, int] | None, workloads: Iterable[WorkloadRow]) -> NamespaceRow:
    """The row of a namespace; *server* is the API server's version, which `latest` stands for."""
    labels, rows = meta.labels or {}, list(workloads)
    level, version = _mode(labels, "enforce")
    effective = server if version == "latest" else version_of(version)
    old = effective is not None and effective < SINCE
    return NamespaceRow(
        name=shown(meta.name, SHOWN),
        enforce=_words(labels, "enforce"),
        warn=_words(labels, "warn"),
        audit=_words(labels, "audit"),
        pinned=level in LEVELS[1:] and version != "latest" and old,
        relaxed=_relaxed(level, effective),
        workloads=len(rows),
        pods=sum(row.pods for row in rows),
        asking=sum(row.asking for row in rows),
    )


def namespace_rows(
    metas: list[wire.Meta], server: tuple[int, int] | None, workloads: list[WorkloadRow]
) -> tuple[NamespaceRow, ...]:
    """The rows of all namespaces, by name; those that were not read have none."""
    by_name: dict[str, list[WorkloadRow]] = {}
    for row in workloads:
        by_name.setdefault(row.namespace, []).append(row)
    found = (namespace_row(meta, server, by_name.get(shown(meta.name, SHOWN), ())) for meta in metas)
    return tuple(sorted(found, key=lambda row: row.name))


def version_of(text: str) -> tuple[int, int] | None:
    """(1, 35) of `v1.35` or `v1.35.2+k3s1`; None for anything else."""
    found = _VERSION.match(text)
    return (1, int(found[1])) if found else None


def _mode(labels: dict[str, str], mode: str) -> tuple[str, str]:
    """(Level or empty, version); without a version it is the latest."""
    return labels.get(f"{_PREFIX}{mode}", ""), labels.get(f"{_PREFIX}{mode}-version") or "latest"


def _words(labels: dict[str, str], mode: str) -> str:
    level, version = _mode(labels, mode)
    return shown(f"{level}:{version}", SHOWN) if level else DEFAULT


def _relaxed(level: str, version: tuple[int, int] | None) -> str:
    if level not in LEVELS:
        return "unknown: the cluster's default level is not visible" if not level else "unknown: no such level"
    if level == "privileged":
        return "nothing: privileged requires nothing"
    if version is None:
        return "unknown: the version is not known"
    gate = f"nothing, unless the gate {POD_SECURITY.name} is on, which is not visible"
    return {"relaxed": WORDS[level], "gate": gate, "asked": "nothing"}[asked(level, version)]
