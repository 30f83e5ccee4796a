"""What the log says of a refusal, whoever wrote its message."""

from __future__ import annotations

import json

import pytest

from probe.publish.api.errors import conflicting_managers, explain_failure, may_pass
from probe.publish.api.interface import Failure

MANY = "".join(f'conflict with "manager-{number:05}": .metadata\n' for number in range(50_000))


def test_a_conflict_names_who_else_owns_it() -> None:
    failure = Failure(
        409, "Conflict", 'Apply failed with 1 conflict: conflict with "kubectl-annotate" using v1: .metadata'
    )
    assert conflicting_managers(failure) == ["kubectl-annotate"]


@pytest.mark.parametrize("status", [0, 401, 403, 404, 409, 413, 422, 429, 500])
def test_a_line_of_the_log_is_a_line(status: int) -> None:
    """A message of megabytes with escapes in it, and with as many managers, makes no more of it."""
    line = json.dumps(explain_failure(Failure(status, "Conflict", f"\x1b[2J\n{MANY}"), "node-1"))
    assert len(line) < 10_000
    assert "\\u001b" not in line


@pytest.mark.parametrize(
    ("status", "passes"),
    [
        *((0, True), (400, False), (401, True), (403, False), (404, False), (409, False), (413, False), (422, False)),
        *((429, True), (500, True), (503, True)),
    ],
)
def test_which_refusals_may_pass(status: int, passes: bool) -> None:
    """A token rotates, a server asks to wait or is away for a moment; the others say the same to the same request."""
    assert may_pass(Failure(status, "", "")) is passes
