"""Forecast of the next restart of the container runtime."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from lab.factory import (
    absent,
    make_facts,
    make_handler,
    make_handler_around,
    make_kubelet,
    make_pending,
    make_runtime,
    make_surroundings,
    unread,
)
from probe.checks.catalog import judge
from probe.checks.forecasts.catalog import forecast_events
from probe.facts.around import Added
from probe.facts.model import Facts
from probe.facts.runtime.model import Difference
from probe.forecast import EventForecast
from probe.reading import Reading


def forecast(facts: Facts) -> EventForecast:
    """Of the next restart."""
    return forecast_events(facts, judge(facts))[1]


def handlers(*changes: dict[str, Any]) -> Any:
    return Reading("CRI", tuple(make_handler(**change) for change in changes))


def difference(setting: str, now: str, then: str) -> Any:
    return make_pending(differences=(Difference(setting=setting, now=now, then=then),))


def replaced(version: Any) -> dict[str, Any]:
    """A runtime on whose path another program lies."""
    return {"pending": make_pending(replaced=True, version=version)}


CONFIG = "/etc/containerd/config.toml"


@pytest.mark.parametrize(
    ("runtime", "outcome", "verdict", "reason"),
    [
        ({}, "stays", "ready", ""),
        (replaced("2.2.1"), "stays", "ready", ""),
        (replaced("1.7.24"), "turns", "not-ready", "RuntimeTooOld"),
        (replaced(unread("/usr/bin/containerd")), "unknown", "unknown", "NotPermitted"),
        (
            {"version": "1.7.24", "handlers": handlers(), "pending": make_pending(replaced=True, version="2.1.9")},
            "turns", "unknown", "NotTried",
        ),
        ({"handlers": handlers({"user_namespaces": False, "binary_newer": True})}, "turns", "ready", ""),
        ({"pending": difference("handler runc", "runc", "")}, "stays", "ready", ""),
        ({"pending": difference("handler runc", "runc", "crun")}, "unknown", "unknown", "NotTried"),
        ({"pending": difference("root", "/var/lib/containerd", "/data")}, "unknown", "unknown", "NotTried"),
        ({"pending": difference("snapshotter", "overlayfs", "stargz")}, "turns", "unknown", "NotReadable"),
        ({"pending": make_pending(without_cri=True)}, "turns", "not-ready", "CriServiceMissing"),
        (
            {"pending": make_pending(refused="exit status 1: bad", changed_file=CONFIG)},
            "turns", "not-ready", "RuntimeNotReady",
        ),
        (
            {"pending": make_pending(differences=unread("config"), changed_file=CONFIG)},
            "unknown", "unknown", "NotReadable",
        ),
        ({"pending": make_pending(changed_file=CONFIG)}, "stays", "ready", ""),
        ({"pending": unread("the runtime's process")}, "unknown", "unknown", "NotPermitted"),
    ],
)  # fmt: skip
def test_what_the_next_restart_brings(runtime: dict[str, Any], outcome: str, verdict: str, reason: str) -> None:
    """The checks of today on what its program, its files and its OCI runtimes say now."""
    found = forecast(make_facts(runtime=make_runtime(**runtime)))
    assert (found.outcome, found.verdict, found.reason) == (outcome, verdict, reason)
    if outcome == "turns" and verdict != "ready":
        assert found.message


def test_another_default_handler() -> None:
    """Pods without a RuntimeClass get it."""
    told = handlers({}, {"name": "old", "user_namespaces": False, "oci_idmap": False, "oci_version": "1.1.12"})
    found = forecast(
        make_facts(runtime=make_runtime(handlers=told, pending=difference("default handler", "runc", "old")))
    )
    assert (found.outcome, found.verdict, found.reason) == ("turns", "not-ready", "HandlerWithoutUserNamespaces")


def test_a_changed_base_specification() -> None:
    """What it adds then is judged as if it were in force."""
    added = Added(sysctls=(("net.core.xfrm_x", "1"),), newer=True)
    around = make_surroundings(handlers=(make_handler_around(added=Reading("/etc/base.json", added)),))
    facts = make_facts(runtime=make_runtime(surroundings=around))
    now = {finding.id: finding.status for finding in judge(facts)}
    assert now["runtime-base-spec"] == "unknown"
    found = forecast(facts)
    assert (found.outcome, found.verdict, found.reason) == ("turns", "not-ready", "SysctlRefused")
    assert "base specification" in found.pending


def test_a_pod_that_ran_proves_nothing_of_the_next_daemon() -> None:
    """The proof of today stays with the checks that a restart does not change."""
    facts = make_facts(runtime=make_runtime(pending=make_pending(replaced=True, version="1.7.24")))
    facts = replace(facts, userns_pod_runs=Reading("processes of Pods", True))
    assert forecast(facts).reason == "RuntimeTooOld"


def test_one_service_for_both() -> None:
    """K3s restarts its kubelet with it."""
    kubelet = make_kubelet(distribution="k3s", gate_configured=False)
    assert forecast(make_facts(kubelet=kubelet)).reason == "KubeletNotFound"
    assert forecast(make_facts(kubelet=make_kubelet(gate_configured=False))).outcome == "stays"


def test_no_runtime() -> None:
    """Where no kubelet runs, no runtime is known to restart; an unknown one stays unknown."""
    machine = make_facts(kubelet=absent("/proc"), runtime=absent("/proc"))
    assert [one.event for one in forecast_events(machine, judge(machine))] == ["boot"]
    unknown = make_facts(runtime=unread("CRI"))
    assert forecast(unknown).outcome == "unknown"
