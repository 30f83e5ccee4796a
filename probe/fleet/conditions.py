"""Conditions of `--fail-on`: each holds, does not hold, or cannot be told. Pure."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from probe.fleet.diff import Diff
from probe.fleet.inventory import Inventory, section_of


class Condition(Struct, frozen=True):
    """A condition."""

    words: str
    needs: tuple[str, ...]
    """Sections without which it cannot be told that it does not hold."""
    holds: Callable[[Inventory, Diff | None], bool]
    open: Callable[[Inventory, Diff | None], str] = lambda inventory, change: ""
    """Reason why it is unknown, although all sections were read; empty when it is known."""


def _many(count: int, words: str) -> str:
    return f"{count} {words}" if count else ""


def _not_compared(_: Inventory, change: Diff | None) -> str:
    parts = [line for line in change.not_compared if not line.startswith("evidence")] if change else []
    return f"not compared: {'; '.join(parts)}" if parts else ""


CONDITIONS: dict[str, Condition] = {
    "fails": Condition(
        "a workload asks, and will fail or be ignored",
        ("pods", "nodes"),
        lambda one, _: one.summary.lists["fails"] > 0,
        lambda one, _: _many(one.summary.lists["asked-unknown"], "asking workloads are unknown"),
    ),
    "not-ready": Condition(
        "a node is not ready",
        ("nodes",),
        lambda one, _: one.summary.not_ready > 0,
        lambda one, _: _many(one.summary.unknown, "nodes are unknown"),
    ),
    "unknown": Condition(
        "a node or an asking workload is unknown",
        ("pods", "nodes"),
        lambda one, _: one.summary.unknown > 0 or one.summary.lists["asked-unknown"] > 0,
    ),
    "unconfined": Condition(
        "a workload asks, and its scheduling is not confined", ("pods",), lambda one, _: one.summary.unconfined > 0
    ),
    "contradiction": Condition(
        "all attempts failed on a ready node",
        ("prometheus", "nodes"),
        lambda one, _: one.summary.contradictions > 0,
        lambda one, _: "" if one.evidence else "Prometheus has no counters of any node",
    ),
    "unsafe": Condition(
        "enforcing now would break something",
        ("pods", "nodes", "namespaces"),
        lambda one, _: any(row.safe == "no" for row in one.enforcement),
        lambda one, _: _many(
            sum(row.safe == "unknown" for row in one.enforcement), "answers by namespace and pool are unknown"
        ),
    ),
    "worse": Condition(
        "something is worse than in --diff",
        ("pods", "nodes"),
        lambda _, change: change is not None and any(one.worse for one in change.changes),
        _not_compared,
    ),
}


def parse_conditions(text: str) -> tuple[str, ...]:
    """Names of conditions, parted by commas. *Errors*: ValueError."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in CONDITIONS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a condition; there are {', '.join(CONDITIONS)}")
    return names


def unread(inventory: Inventory) -> str:
    """Why no list at all could be read; empty when one was."""
    sections = [one for one in inventory.sections if one.name != "prometheus"]
    if any(one.state in ("read", "partial") for one in sections):
        return ""
    return next((one.problem for one in sections if one.problem), "none is served")


def exit_code(names: tuple[str, ...], inventory: Inventory, change: Diff | None) -> tuple[int, list[str]]:
    """(1 when a condition holds, else 2 when one cannot be told, else 0; a line for each of these)."""
    code, lines = 0, []
    for name in names:
        condition = CONDITIONS[name]
        missing = [section for section in condition.needs if section_of(inventory, section).state != "read"]
        if condition.holds(inventory, change):
            code = 1
            lines.append(f"--fail-on {name}: {condition.words}")
        elif missing:
            code = code or 2
            lines.append(f"--fail-on {name}: unknown, since not read in full: {', '.join(missing)}")
        elif why := condition.open(inventory, change):
            code = code or 2
            lines.append(f"--fail-on {name}: unknown, since {why}")
    return code, lines
