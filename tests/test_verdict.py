"""From findings to a verdict: the rules, against findings of every kind."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.finding import Finding
from probe.terms import LEVELS, Status
from probe.verdict import Conclusion, conclude

STATUSES = get_args(Status)


def make_finding(status: str = "pass", **overrides: object) -> Finding:
    fields: dict[str, object] = {
        "id": "some-check",
        "level": "stateless",
        "gating": True,
        "status": status,
        "reason": f"{status.capitalize()}Reason" if status in ("fail", "unknown") else "",
        "message": f"it is {status}",
        "remediation": "",
        "documentation": "",
        "evidence": (),
    }
    return Finding(**fields | overrides)  # type: ignore[arg-type]


FINDING = st.builds(
    make_finding,
    st.sampled_from(STATUSES),
    level=st.sampled_from(LEVELS),
    gating=st.booleans(),
    reason=st.sampled_from(["A", "B", "C"]),
    message=st.text(max_size=5),
)
FINDINGS = st.lists(FINDING, max_size=8)


def outline(conclusion: Conclusion) -> tuple[str, str]:
    return conclusion.verdict, conclusion.reason


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], ("ready", "")),
        (["pass", "skipped", "warn"], ("ready", "")),
        (["pass", "unknown"], ("unknown", "UnknownReason")),
        (["unknown", "fail"], ("not-ready", "FailReason")),
        (["fail", "unknown"], ("not-ready", "FailReason")),
    ],
)
def test_the_rules_in_short(statuses: list[str], expected: tuple[str, str]) -> None:
    """A failure outweighs what is unknown, and that outweighs all else."""
    assert outline(conclude([make_finding(status) for status in statuses])) == expected


@given(FINDINGS)
def test_any_failure_is_not_ready(findings: list[Finding]) -> None:
    """And nothing else is, whether its check gates or not; only volumes have their own level to decide."""
    failed = any(f.status == "fail" and f.level != "volumes" for f in findings)
    assert (conclude(findings).verdict == "not-ready") == failed


@given(FINDINGS)
def test_ready_means_that_nothing_fails_and_every_gating_check_knows(findings: list[Finding]) -> None:
    """Neither a failure of any check, nor an unknown of a gating one."""
    node = [f for f in findings if f.level != "volumes"]
    fine = not any(f.status == "fail" or (f.status == "unknown" and f.gating) for f in node)
    assert (conclude(findings).verdict == "ready") == fine


@given(FINDINGS)
def test_what_does_not_gate_may_be_unknown(findings: list[Finding]) -> None:
    """Verdict, reason and message are the same without the unknowns of checks that do not gate."""
    full, rest = conclude(findings), conclude([f for f in findings if f.gating or f.status != "unknown"])
    assert (full.verdict, full.reason, full.message) == (rest.verdict, rest.reason, rest.message)


@given(FINDINGS)
def test_a_warning_is_as_good_as_a_pass(findings: list[Finding]) -> None:
    """A `warn` never changes a verdict or a level."""
    calm = [make_finding("pass", level=f.level, gating=f.gating) if f.status == "warn" else f for f in findings]
    assert conclude(findings) == conclude(calm)


@given(FINDINGS)
def test_the_reason_is_of_the_first_in_stack_order(findings: list[Finding]) -> None:
    """Of the first failure, gating ones first, else of the first unknown; a node that is ready has none."""
    node = [f for f in findings if f.level != "volumes"]
    failed = [f for f in node if f.status == "fail"]
    ordered = [f for f in failed if f.gating] + failed + [f for f in node if f.status == "unknown" and f.gating]
    conclusion = conclude(findings)
    assert conclusion.reason == (ordered[0].reason if ordered else "")
    if ordered:
        assert conclusion.message == ordered[0].message
    else:
        assert conclusion.message


@given(FINDINGS)
def test_a_level_includes_those_before_it(findings: list[Finding]) -> None:
    """No level is better than an earlier one."""
    worth = {"ready": 2, "unknown": 1, "not-ready": 0}
    verdicts = [conclude(findings).levels[level] for level in LEVELS]
    assert list(conclude(findings).levels) == list(LEVELS)
    assert [worth[v] for v in verdicts] == sorted((worth[v] for v in verdicts), reverse=True)


@given(FINDINGS, st.sampled_from(LEVELS))
def test_a_level_knows_only_what_is_needed_for_it(findings: list[Finding], level: str) -> None:
    """Findings of later levels do not touch it."""
    index = LEVELS.index(level)  # type: ignore[arg-type]
    needed = [f for f in findings if LEVELS.index(f.level) <= index]
    assert conclude(findings).levels[level] == conclude(needed).levels[level]


@given(FINDINGS)
def test_a_node_is_ready_when_its_levels_but_volumes_are(findings: list[Finding]) -> None:
    """`local` includes all levels that count for the node, so it is the node's verdict."""
    assert conclude(findings).levels["local"] == conclude(findings).verdict


@pytest.mark.parametrize(("level", "ready"), [("stateless", 0), ("projected", 1), ("local", 2)])
def test_a_failure_decides_its_level_and_those_above(level: str, ready: int) -> None:
    """Also one of a check that does not gate: a trial that failed beside a node called ready misled people."""
    conclusion = conclude([make_finding(), make_finding("fail", level=level, gating=False)])
    assert outline(conclusion) == ("not-ready", "FailReason")
    assert list(conclusion.levels.values()) == ["ready"] * ready + ["not-ready"] * (4 - ready)


@pytest.mark.parametrize(("status", "verdict"), [("fail", "not-ready"), ("unknown", "unknown"), ("warn", "ready")])
def test_volumes_decide_their_level_and_nothing_else(status: str, verdict: str) -> None:
    """A refused volume leaves the node ready, and says that volumes do not all work; an unknown one is no promise."""
    conclusion = conclude([make_finding(), make_finding(status, level="volumes", gating=False)])
    assert outline(conclusion) == ("ready", "")
    assert conclusion.levels == {
        "stateless": "ready",
        "projected": "ready",
        "local": "ready",
        "volumes": verdict,
    }


@pytest.mark.parametrize("level", ["stateless", "projected", "local"])
def test_what_a_check_that_does_not_gate_leaves_unknown_decides_nothing(level: str) -> None:
    """Only a gating check needs an answer."""
    conclusion = conclude([make_finding(), make_finding("unknown", level=level, gating=False)])
    assert outline(conclusion) == ("ready", "")
    assert set(conclusion.levels.values()) == {"ready"}
