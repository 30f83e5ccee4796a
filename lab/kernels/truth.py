"""The truth that predictions are measured against: what OCI runtimes did in a guest, never typed in here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Documents = Sequence[Mapping[str, Any]]
"""What a guest printed."""
Truths = Mapping[str, Mapping[str, str]]
"""Row -> OCI runtime -> WORKS, or its own words."""

WORKS = "works"
WITHOUT_CONTROL = {"unbindable": "invalid argument"}
"""Row that cannot be bound as it is, either, so that nothing starts without mapping -> how a runtime then ends."""


def truths(documents: Documents) -> dict[str, dict[str, str]]:
    """Of each row that was tried."""
    found: dict[str, dict[str, str]] = {}
    for each in _of_rows(documents):
        found.setdefault(each["row"], {})[each["runtime"]] = _truth(each)
    return found


def _of_rows(documents: Documents) -> list[Mapping[str, Any]]:
    return [each for each in documents if "row" in each and "runtime" in each]


def _truth(container: Mapping[str, Any]) -> str:
    """Works: it started, and the owner of the volume is root in it, too."""
    if not container["started"]:
        return str(container["error"])
    owner = container["owner_seen"]
    return WORKS if owner == 0 else f"started, and the volume's owner is {owner} in it"


def works(truths: Truths, row: str) -> bool:
    """A row that could not be made needs what this kernel does not have."""
    return row in truths and set(truths[row].values()) == {WORKS}


def doubts(documents: Documents) -> Iterator[str]:
    """What keeps a truth from being one: a container that does not start with its volume unmapped, or was not tried."""
    containers = _of_rows(documents)
    for each in containers:
        name, runtime, control = each["row"], each["runtime"], each.get("control")
        if each["started"]:
            continue
        if name in WITHOUT_CONTROL:
            if not each["error"].lower().endswith(WITHOUT_CONTROL[name]):
                yield f"{name}: {runtime} does not start for another reason: {each['error']}"
        elif control is None:
            yield f"{name}: {runtime} refuses it, and was not asked to do without mapping"
        elif not control["started"]:
            yield f"{name}: {runtime} does not start without mapping either: {control['error']}"
    runtimes = {each["runtime"] for each in containers}
    predicted = {name: None for each in documents for name in each.get("paths", ())}
    for name in predicted:
        told = {each["runtime"] for each in containers if each["row"] == name}
        if not runtimes:
            yield f"{name}: no container was tried"
        yield from (f"{name}: no container of {runtime} was tried" for runtime in sorted(runtimes - told))


def plain_containers_start(documents: Documents, scenario: str = "") -> list[bool]:
    """Of each runtime whether containers with a user namespace and unmapped volumes start, in that scenario if any.

    Elsewhere a container with a mapped volume is one that starts, too.
    """
    found: dict[str, bool] = {}
    for each in documents:
        if "runtime" in each and each.get("scenario", "") == scenario:
            started = each["started"] or (each.get("control") or {}).get("started", False)
            found[each["runtime"]] = found.get(each["runtime"], False) or started
    return list(found.values())
