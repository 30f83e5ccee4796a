"""Networks of an engine."""

from __future__ import annotations

from lab.nested import REFUSED, SKIPPED, asked, judged, status


def test_statuses() -> None:
    """One of nf_tables and ip_tables is enough; without either, NAT is unknown."""
    assert status(judged("nested-network")) == "pass"
    assert status(judged("nested-network", {"nat": SKIPPED})) == "pass"
    assert status(judged("nested-network", {"nat": REFUSED, "ip_tables": SKIPPED})) == "fail NestedNetworkRefused"
    assert status(judged("nested-network", {"nat": SKIPPED, "ip_tables": SKIPPED})) == "unknown NotTried"
    assert status(judged("nested-network", {"ip_forward": REFUSED})) == "fail NestedNetworkRefused"


def test_a_kind_of_link_that_is_not_loaded_is_unknown() -> None:
    """Nothing is loaded to find out, and the remediation loads it."""
    answer = judged("nested-network", {"bridge": SKIPPED})
    assert status(answer) == "unknown NotTried"
    assert "modprobe" in answer.outcome.remediation


def test_vxlan_is_for_an_inner_kubernetes_only() -> None:
    assert status(judged("nested-network", {"vxlan": SKIPPED})) == "warn"
    assert asked(judged("nested-network")) == ["capability NET_ADMIN"]


def test_modules_are_loaded_only_where_they_are_missing() -> None:
    """What an earlier step kept from being tried is no matter of modules."""
    earlier = {"result": "not-tried", "reason": "an earlier step that it needs did not work (pod namespaces: ENOSPC)"}
    for step, told in ((SKIPPED, True), (earlier, False)):
        outcome = judged(
            "nested-network", dict.fromkeys(("bridge", "veth", "ip_forward", "nat", "ip_tables"), step)
        ).outcome
        assert outcome.status == "unknown"
        assert ("modprobe" in outcome.remediation) == told
        assert ("ENOSPC" in outcome.message) != told
