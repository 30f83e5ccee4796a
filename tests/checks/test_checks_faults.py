"""Each release that has a fault, those on both sides of it, and what else each check can say."""

from __future__ import annotations

from typing import Any

import pytest

from lab.factory import absent, make_facts, make_handler, make_mounts, make_runtime, unread
from probe.checks.faults import CHECKS, LEAKED_MOUNTS
from probe.facts.model import Facts
from probe.reading import Reading

BY_ID = {check.id: check for check in CHECKS}


def status(check_id: str, facts: Facts) -> str:
    return BY_ID[check_id].check(facts).status


def with_runtime(name: str, version: Any, **overrides: Any) -> Facts:
    """A node of that container runtime."""
    return make_facts(runtime=make_runtime(name=name, version=version), **overrides)


def test_none_of_them_decides() -> None:
    """A node of a faulty version runs Pods now."""
    assert not any(check.gating or check.reasons for check in CHECKS)


@pytest.mark.parametrize(
    ("check_id", "program", "version", "expected"),
    [
        ("hazard-crio-restart", "cri-o", "1.29.9", "pass"),
        ("hazard-crio-restart", "cri-o", "1.30.0", "warn"),
        ("hazard-crio-restart", "cri-o", "1.34.11", "warn"),
        ("hazard-crio-restart", "cri-o", "1.34.12", "unknown"),
        ("hazard-crio-restart", "cri-o", "1.35.5", "warn"),
        ("hazard-crio-restart", "cri-o", "1.35.6", "pass"),
        ("hazard-crio-restart", "cri-o", "1.35.6-dev", "unknown"),
        ("hazard-crio-restart", "cri-o", "1.35.5-dev", "warn"),
        ("hazard-crio-restart", "cri-o", "1.35.7-dev", "pass"),
        ("hazard-crio-restart", "cri-o", "1.35.6+rhaos4.22", "pass"),
        ("hazard-crio-restart", "cri-o", "1.36.3", "warn"),
        ("hazard-crio-restart", "cri-o", "1.36.4", "unknown"),
        ("hazard-crio-restart", "cri-o", "1.37.0-dev", "pass"),
        ("hazard-crio-restart", "containerd", "2.1.0", "skipped"),
        ("hazard-crio-restart", "cri-o", "UNKNOWN", "unknown"),
        ("hazard-declared-volumes", "containerd", "1.7.27", "pass"),
        ("hazard-declared-volumes", "containerd", "2.0.6", "warn"),
        ("hazard-declared-volumes", "containerd", "2.0.7", "pass"),
        ("hazard-declared-volumes", "containerd", "2.1.4", "warn"),
        ("hazard-declared-volumes", "containerd", "2.1.5", "pass"),
        ("hazard-declared-volumes", "containerd", "2.1.5~rc1+ds1", "unknown"),
        ("hazard-declared-volumes", "containerd", "v2.1.5-k3s1.devel", "pass"),
        ("hazard-declared-volumes", "containerd", "2.0.0-rc.3", "warn"),
        ("hazard-declared-volumes", "containerd", "2.1.4-1~deb12", "warn"),
        ("hazard-declared-volumes", "containerd", "2.2.0", "pass"),
        ("hazard-leaked-mounts", "containerd", "2.1.4", "warn"),
        ("hazard-leaked-mounts", "containerd", "2.1.5", "pass"),
        ("hazard-leaked-mounts", "containerd", "2.1.5-rc.0", "unknown"),
        ("hazard-leaked-mounts", "cri-o", "1.36.0", "skipped"),
    ],
)
def test_by_version(check_id: str, program: str, version: str, expected: str) -> None:
    """The first release with the fault, the last one, and the first without it, of each branch."""
    assert status(check_id, with_runtime(program, version)) == expected


@pytest.mark.parametrize("check_id", BY_ID)
def test_what_cannot_be_read_is_unknown(check_id: str) -> None:
    """No runtime that answers, or one that does not tell its name."""
    assert status(check_id, make_facts(runtime=unread("CRI"))) == "unknown"


@pytest.mark.parametrize(
    ("oci", "version", "expected"),
    [("crun", "1.28", "pass"), ("crun", "1.29", "warn"), ("crun", "1.29.1", "pass"), ("runc", "1.29.0", "pass")],
)
def test_crun_by_version(oci: str, version: str, expected: str) -> None:
    """Of the handler that is asked about."""
    handlers = (make_handler(name="other", oci_runtime="runc"), make_handler(oci_runtime=oci, oci_version=version))
    facts = make_facts(runtime=make_runtime(handlers=Reading("CRI", handlers)))
    check = BY_ID["hazard-crun-modes"]
    assert check.check(facts).status == expected
    assert check.per_handler
    assert check.per_handler(facts, "other").status == "pass"
    assert check.per_handler(facts, "none").status == "skipped"


def test_a_handler_without_a_program_has_no_crun() -> None:
    """Such as one of virtual machines."""
    handlers = (make_handler(binary=absent("binary")),)
    assert status("hazard-crun-modes", make_facts(runtime=make_runtime(handlers=Reading("CRI", handlers)))) == "skipped"


@pytest.mark.parametrize(("left", "expected"), [(LEAKED_MOUNTS - 1, "pass"), (LEAKED_MOUNTS, "warn")])
def test_mounts_are_counted_whatever_the_version(left: int, expected: str) -> None:
    """A few are those of Pods that start; many are a leak, also of a release that should have none."""
    facts = with_runtime("containerd", "2.2.0", mounts=Reading("mountinfo", make_mounts(idmapped_layers=left)))
    outcome = BY_ID["hazard-leaked-mounts"].check(facts)
    assert outcome.status == expected
    assert any(str(left) in evidence.value for evidence in outcome.evidence)


def test_a_mount_table_that_cannot_be_read() -> None:
    """How many there are is unknown, whatever the version says."""
    facts = with_runtime("containerd", "2.2.0", mounts=unread("mountinfo"))
    assert status("hazard-leaked-mounts", facts) == "unknown"
