"""All checks of nested containers together: the block of the Report, and A8's acceptance on constructed nodes."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.factory import make_facts, make_handler, make_kernel, make_namespace_attempt, make_nested, make_runtime, unread
from probe.checks.catalog import CHECKS as NODE_CHECKS
from probe.checks.nested.catalog import CHECKS, find, judge_nested
from probe.facts.model import Facts
from probe.host.nested.trial import STEP_NAMES
from probe.make_report import make_report
from probe.nested import INCLUDED, NESTED_LEVELS, Base, Nested
from probe.reading import Reading
from probe.report import Report
from tests.extent import EXAMPLES


def report_of(facts: Facts) -> Report:
    """The Report of a node."""
    now = "2026-11-29T12:00:00Z"
    return make_report(facts, agent_version="0", probed_at=now, expires_at=now, duration_seconds=0.0)


def nested_of(facts: Facts) -> Nested:
    """The block of the Report."""
    nested = report_of(facts).nested
    assert nested is not None
    return nested


def verdicts(nested: Nested) -> dict[str, str]:
    """Level -> verdict and reason."""
    return {level: f"{one.verdict} {one.reason}".strip() for level, one in nested.levels.items()}


def handlers(*each: dict[str, Any]) -> Reading[Any]:
    return Reading("CRI", tuple(make_handler(**one) for one in each))


def test_twelve_checks_with_texts() -> None:
    """Each has an id of its own, beside those of the node, and says all that `explain` prints."""
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids) == 12
    assert not set(ids) & {check.id for check in NODE_CHECKS}
    for check in CHECKS:
        assert find(check.id) is check
        assert check.question.endswith("?")
        assert check.why
        assert check.documentation
        assert check.levels
        assert check.id.startswith("nested-")


def test_al2023_with_a_writable_cgroup() -> None:
    """Amazon Linux 2023, containerd 2.2.5 with cgroup_writable: rootful dockerd ran there, so `engine` is ready.

    *Source*: coder/envbox, solutions-matrix.md: EKS 1.36, AL2023 passed.
    """
    node = make_facts(
        kernel=make_kernel(release="6.12.64-87.122.amzn2023.x86_64", lsm="lockdown,capability,landlock,yama,selinux"),
        runtime=make_runtime(version="2.2.5", handlers=handlers({"cgroup_writable": True, "systemd_cgroup": True})),
    )
    found = nested_of(node)
    assert verdicts(found) == dict.fromkeys(NESTED_LEVELS, "ready")
    asked = {(one.field, one.value) for one in found.levels["engine"].pod}
    assert {("capability", "SYS_ADMIN"), ("capability", "NET_ADMIN"), ("seccomp", "Unconfined")} <= asked
    assert ("proc-mount", "Unmasked") not in asked


def test_eks_auto() -> None:
    """EKS Auto (Bottlerocket), user namespaces switched on: only the cgroup stands against rootful dockerd.

    *Source*: coder/envbox, solutions-matrix.md: EKS Auto failed only on the cgroup.
    """
    bottlerocket = make_kernel(
        release="6.12.63", lsm="lockdown,capability,selinux", selinux_enforcing=True, namespace_limits={}
    )
    node = make_facts(kernel=bottlerocket, runtime=make_runtime(version="2.1.6+bottlerocket"))
    found = verdicts(nested_of(node))
    assert found["build"] == found["rootless"] == "ready"
    assert found["engine"] == found["system"] == "not-ready CgroupReadOnly"


def test_ubuntu() -> None:
    """Its switch against user namespaces of processes without capabilities stops rootless engines, and no builder."""
    denied = {"rootless tmpfs": {"result": "failed", "errno": "EACCES"}}
    found = verdicts(nested_of(make_facts(nested=make_nested(steps=denied))))
    assert (found["build"], found["rootless"]) == ("ready", "not-ready RootlessDenied")


def test_nothing_is_nested_where_no_pod_runs() -> None:
    """As EKS Auto comes: with user.max_user_namespaces 0 each level has the node's verdict and reason."""
    node = make_facts(
        kernel=make_kernel(namespace_limits={"user.max_user_namespaces": 0}),
        user_namespace=make_namespace_attempt(result="refused", step="unshare", errno="ENOSPC"),
    )
    report = report_of(node)
    assert report.verdict == "not-ready"
    assert report.nested
    assert set(verdicts(report.nested).values()) == {f"not-ready {report.reason}"}


def test_handlers_have_verdicts_of_their_own() -> None:
    """A handler with a writable cgroup, and one without user namespaces."""
    told = handlers({}, {"name": "nested", "cgroup_writable": True}, {"name": "old", "user_namespaces": False})
    rows = {one.name: one for one in nested_of(make_facts(runtime=make_runtime(handlers=told))).handlers}
    assert rows[""].levels["engine"] == "not-ready"
    assert rows["nested"].levels["engine"] == "ready"
    assert set(rows["old"].levels.values()) == {"not-ready"}
    assert rows["old"].reasons["build"] == "HandlerWithoutUserNamespaces"


def test_none_of_it_decides_the_node() -> None:
    """A node where every step fails has the same verdict as one where all work."""
    worst = make_nested(steps={name: {"result": "failed", "errno": "EPERM"} for name in STEP_NAMES})
    report = report_of(make_facts(nested=worst))
    assert (report.verdict, report.findings) == ("ready", report_of(make_facts()).findings)
    assert report.nested
    assert all(one.verdict == "not-ready" for one in report.nested.levels.values())


@pytest.mark.parametrize("kind", ["timed-out", "not-permitted", "not-readable", "not-tried"])
def test_a_lost_trial_is_unknown_at_every_level(kind: Any) -> None:
    """Never ready, and never a refusal that nobody saw."""
    found = nested_of(make_facts(nested=make_nested(trial=unread("nested trial", kind))))
    assert found.levels["build"].verdict == found.levels["rootless"].verdict == "unknown"
    assert "ready" not in {one.verdict for one in found.levels.values()}


RESULTS: tuple[dict[str, Any], ...] = (
    {"result": "passed"},
    {"result": "failed", "errno": "EPERM"},
    {"result": "failed", "errno": "ENOSPC"},
    {"result": "skipped", "reason": "not known"},
    {"result": "not-tried", "reason": "an earlier step"},
    {"result": "unknown", "kind": "timed-out", "errno": "ETIMEDOUT", "reason": "no answer"},
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(st.sampled_from(STEP_NAMES), st.sampled_from(RESULTS)), st.sampled_from(["ready", "unknown"]))
def test_any_trial_has_a_verdict(steps: dict[str, dict[str, Any]], base: Any) -> None:
    """Whatever the steps say: declared reasons only, no level above a worse one, and no ready on an unknown node."""
    nested = judge_nested(make_facts(nested=make_nested(steps=steps)), {"": Base(verdict=base, reason="NotTried")})
    rank = {"ready": 0, "unknown": 1, "not-ready": 2}
    for level, below in product(NESTED_LEVELS, NESTED_LEVELS):
        if below in INCLUDED[level]:
            assert rank[nested.levels[level].verdict] >= rank[nested.levels[below].verdict]
    assert base == "ready" or "ready" not in {one.verdict for one in nested.levels.values()}
