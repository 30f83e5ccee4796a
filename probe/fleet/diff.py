"""The difference between two inventories. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from probe.fleet.inventory import Inventory, section_of
from probe.fleet.kinds import POLICY_SECTIONS
from probe.fleet.rows import WorkloadRow

SCHEMA: Literal["userns-probe.io/fleet-diff/v1"] = "userns-probe.io/fleet-diff/v1"
_BAD: dict[str, tuple[str, ...]] = {
    "verdict": ("ready", "unknown", "not-ready"),
    "list": ("isolated", "movable", "asked-unknown", "unknown", "blocked", "fails"),
    "safe": ("yes", "unknown", "no"),
    "contradiction": ("no", "yes"),
    "confined": ("yes", "no"),
    "pinned": ("no", "yes"),
}
"""Field -> its values from good to bad."""


class Change(Struct, frozen=True, kw_only=True):
    """A difference; an object that came or went has no field."""

    of: Literal["node", "workload", "namespace", "policy", "enforcement", "evidence"]
    name: str
    what: Literal["added", "removed", "changed"]
    field: str = ""
    before: str = ""
    after: str = ""
    worse: bool = False


class Diff(Struct, frozen=True, kw_only=True):
    """All differences; parts that one of the inventories could not read are not compared."""

    schema: Literal["userns-probe.io/fleet-diff/v1"] = SCHEMA
    cluster_before: str
    cluster_after: str
    taken_before: str
    taken_after: str
    not_compared: tuple[str, ...]
    changes: tuple[Change, ...]


_Rows = Mapping[str, Mapping[str, str]]


def diff(old: Inventory, new: Inventory) -> Diff:
    """The difference from *old* to *new*: worse changes first."""
    changes: list[Change] = []
    missing = []
    for of, sections, rows in _PARTS:
        if of in _BY_NAMESPACE and old.namespace != new.namespace:
            scopes = " and of ".join(f"the namespace {one.namespace}" if one.namespace else "all" for one in (old, new))
            missing.append(f"{of}: the inventories are of {scopes}")
            continue
        unread = [name for name in sections for one in (old, new) if not _read(one, name)]
        if unread:
            missing.append(f"{of}: {', '.join(dict.fromkeys(unread))} not read in full")
            continue
        changes += _changes(of, rows(old), rows(new))
    return Diff(
        cluster_before=old.cluster,
        cluster_after=new.cluster,
        taken_before=old.taken_at,
        taken_after=new.taken_at,
        not_compared=tuple(missing),
        changes=tuple(sorted(changes, key=lambda one: (not one.worse, one.of, one.name, one.field))),
    )


def _read(one: Inventory, section: str) -> bool:
    """Whether *section* was read in full: of a kind of policy that is not served there are none."""
    return section_of(one, section).state in (("read", "not-served") if section in POLICY_SECTIONS else ("read",))


def _changes(of: Any, old: _Rows, new: _Rows) -> Iterator[Change]:
    for name in old.keys() | new.keys():
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            yield Change(of=of, name=name, what="added" if before is None else "removed", worse=_bad(after))
            continue
        for field in after:
            if before[field] != after[field]:
                yield Change(
                    of=of,
                    name=name,
                    what="changed",
                    field=field,
                    before=before[field],
                    after=after[field],
                    worse=_worse(field, before[field], after[field]),
                )


def _worse(field: str, before: str, after: str) -> bool:
    order = _BAD.get(field, ())
    return before in order and after in order and order.index(after) > order.index(before)


def _bad(row: Mapping[str, str] | None) -> bool:
    """Whether something that came is bad from the start."""
    return row is not None and any(row.get(field) == order[-1] for field, order in _BAD.items() if field != "confined")


def _fields(row: Any, *names: str) -> dict[str, str]:
    return {name: _text(getattr(row, name)) for name in names}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _nodes(one: Inventory) -> _Rows:
    fields = ("pool", "verdict", "reason", "agent", "label", "kernel", "kubelet", "runtime")
    return {row.name: _fields(row, *fields) for row in one.nodes}


def _workloads(one: Inventory) -> _Rows:
    return {f"{row.namespace}/{row.kind}/{row.name}": _workload(row) for row in one.workloads if row.kind != "Job"}


def _workload(row: WorkloadRow) -> dict[str, str]:
    return {"list": row.list, "asks": _text(row.asking > 0)} | (
        _fields(row, "confined") if row.asking else {"confined": ""}
    )


def _namespaces(one: Inventory) -> _Rows:
    return {row.name: _fields(row, "enforce", "warn", "audit", "pinned") for row in one.namespaces}


def _policies(one: Inventory) -> _Rows:
    return {
        f"{row.kind} {row.namespace}/{row.name}": _fields(row, "effect", "actions", "scope") for row in one.policies
    }


def _enforcement(one: Inventory) -> _Rows:
    return {f"{row.of} {row.name}": _fields(row, "safe") for row in one.enforcement}


def _evidence(one: Inventory) -> _Rows:
    return {row.node: _fields(row, "contradiction") for row in one.evidence if row.contradiction}


_PARTS: Iterable[tuple[str, tuple[str, ...], Any]] = (
    ("node", ("nodes",), _nodes),
    ("workload", ("pods", "nodes"), _workloads),
    ("namespace", ("namespaces",), _namespaces),
    ("policy", POLICY_SECTIONS, _policies),
    ("enforcement", ("nodes", "pods", "namespaces"), _enforcement),
    ("evidence", ("prometheus",), _evidence),
)
"""Part, the sections that it needs, and its rows by name."""
_BY_NAMESPACE = ("workload", "namespace", "enforcement")
"""Parts that --namespace narrows."""
