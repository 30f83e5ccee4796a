"""Service meshes: istio-cni by its release and nsenter, and what init containers need."""

from __future__ import annotations

from typing import Any

import pytest

from lab.factory import make_facts, make_nested, make_runtime, make_surroundings
from probe.checks.check import Outcome
from probe.checks.meshes import check_istio_cni
from probe.checks.nested.network import check_network
from probe.facts.runtime.model import IstioCni
from probe.reading import ProblemKind, Reading

CONF = "/etc/cni/net.d/10-calico.conflist"


def missing(kind: ProblemKind) -> Reading[Any]:
    return Reading.without("source", kind, "why")


def istio(version: tuple[int, int] | ProblemKind, nsenter: str | ProblemKind) -> Outcome:
    known = ("absent", "not-permitted", "not-readable", "timed-out")
    found = IstioCni(
        conf=CONF,
        nsenter=missing(nsenter) if nsenter in known else Reading("PATH", nsenter),  # type: ignore[arg-type]
        version=missing(version) if isinstance(version, str) else Reading("install-cni", version),
    )
    return of(Reading(CONF, found))


def of(reading: Reading[IstioCni]) -> Outcome:
    around = make_surroundings(istio_cni=reading)
    return check_istio_cni(make_facts(runtime=make_runtime(surroundings=Reading("/proc/1", around))))


@pytest.mark.parametrize(
    ("version", "nsenter", "status"),
    [
        ((1, 30), "/usr/bin/nsenter", "pass"),
        ((1, 31), "/usr/bin/nsenter", "pass"),
        ((1, 29), "/usr/bin/nsenter", "warn"),
        ((1, 29), "absent", "warn"),
        ((1, 30), "absent", "warn"),
        ("absent", "absent", "warn"),
        ("absent", "/usr/bin/nsenter", "unknown"),
        ("not-readable", "/usr/bin/nsenter", "unknown"),
        ((1, 30), "not-permitted", "unknown"),
    ],
)
def test_istio_cni(version: tuple[int, int] | ProblemKind, nsenter: str | ProblemKind, status: str) -> None:
    """Without nsenter no release works, with it 1.30 does; what is not seen is unknown. It never fails."""
    found = istio(version, nsenter)
    assert found.status == status
    assert (found.remediation != "") == (status == "warn")


@pytest.mark.parametrize(
    ("kind", "status"), [("absent", "skipped"), ("not-readable", "unknown"), ("not-tried", "unknown")]
)
def test_networks_without_istio_cni(kind: ProblemKind, status: str) -> None:
    """The question does not arise where no network names it, and is open where one could not be read."""
    assert of(missing(kind)).status == status


UNLOADED = {"result": "skipped", "kind": "not-tried"}
DENIED = {"result": "failed", "errno": "EPERM"}


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({}, "can redirect their Pod"),
        ({"nat": UNLOADED}, "can redirect their Pod"),
        ({"ip_tables": {"result": "failed", "errno": "ENOENT"}}, "can redirect their Pod"),
        ({"bridge": UNLOADED}, "can redirect their Pod"),
        ({"nat": DENIED, "ip_tables": DENIED}, "no init container of a mesh"),
        ({"nat": UNLOADED, "ip_tables": UNLOADED}, "unknown"),
        ({"bridge": UNLOADED, "nat": UNLOADED, "ip_tables": UNLOADED}, "unknown"),
    ],
)
def test_init_containers(steps: dict[str, dict[str, Any]], words: str) -> None:
    """Either way of NAT is enough for them, whatever else an engine needs."""
    found = check_network(make_facts(nested=make_nested(steps=steps)), "").outcome
    assert words in found.message
