"""One check of nested containers on a node of lab.factory, for tests."""

from __future__ import annotations

from typing import Any

from lab.factory import make_facts, make_nested
from probe.checks.nested.catalog import find
from probe.checks.nested.check import NestedOutcome

REFUSED: dict[str, Any] = {"result": "failed", "errno": "EPERM"}
SKIPPED: dict[str, Any] = {"result": "skipped", "reason": "the running kernel does not know it now"}
DOUBTFUL: dict[str, Any] = {"result": "unknown", "errno": "EPERM", "kind": "not-permitted", "reason": "a filter"}
HUNG: dict[str, Any] = {"result": "unknown", "errno": "ETIMEDOUT", "kind": "timed-out", "reason": "no answer"}
PASSED: dict[str, Any] = {"result": "passed", "errno": ""}


def judged(
    check_id: str, steps: dict[str, dict[str, Any]] | None = None, handler: str = "", **facts: Any
) -> NestedOutcome:
    """What a check says where *steps* of the trial end so, and *facts* of the node are these."""
    check = find(check_id)
    assert check is not None, check_id
    facts.setdefault("nested", make_nested(steps=steps))
    return check.check(make_facts(**facts), handler)


def status(answer: NestedOutcome) -> str:
    """`fail NestedMountRefused`."""
    return f"{answer.outcome.status} {answer.outcome.reason}".strip()


def asked(answer: NestedOutcome) -> list[str]:
    """What the Pod must ask for: `capability SYS_ADMIN`."""
    return [f"{request.field} {request.value}" for request in answer.pod]
