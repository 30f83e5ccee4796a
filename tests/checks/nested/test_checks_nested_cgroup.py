"""Cgroups that a Pod may write to."""

from __future__ import annotations

from typing import Any

import pytest

from lab.factory import absent, make_handler, make_kernel, make_nested, make_runtime
from lab.nested import asked, judged, status
from probe.reading import Reading


def on(runtime: dict[str, Any], *handlers: dict[str, Any], name: str = "") -> str:
    """What is said of handler *name* where the runtime has these."""
    told = Reading("CRI", tuple(make_handler(**each) for each in handlers))
    return status(judged("nested-cgroup", handler=name, runtime=make_runtime(handlers=told, **runtime)))


WRITABLE = {"cgroup_writable": True}


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        ({"cgroup_writable": False}, "fail CgroupReadOnly"),
        (WRITABLE, "pass"),
        (WRITABLE | {"systemd_cgroup": False}, "fail CgroupNotOwned"),
        (WRITABLE | {"systemd_cgroup": False, "oci_runtime": "crun"}, "pass"),
        (WRITABLE | {"systemd_cgroup": absent("CRI")}, "unknown NotReadable"),
        (WRITABLE | {"oci_runtime": absent("runc")}, "unknown NotReadable"),
        ({"cgroup_writable": absent("CRI")}, "unknown NotReadable"),
    ],
)
def test_containerd(handler: dict[str, Any], expected: str) -> None:
    """The mount must be writable, and runc gives it to the Pod's root with the driver systemd only, crun with both."""
    assert on({}, handler) == expected


def test_handlers_differ() -> None:
    """Each handler has its own answer, and one that cannot names one that can."""
    handlers = ({"cgroup_writable": False}, {"name": "nested", **WRITABLE})
    assert on({}, *handlers) == "fail CgroupReadOnly"
    assert on({}, *handlers, name="nested") == "pass"
    assert on({}, *handlers, name="other") == "unknown NotReadable"


@pytest.mark.parametrize("other", [{"systemd_cgroup": False}, {"oci_runtime": absent("runc")}])
def test_a_handler_that_gives_the_cgroup_to_nobody_is_no_way_out(other: dict[str, Any]) -> None:
    """A writable mount alone is not enough."""
    for more, named in (({}, True), (other, False)):
        told = (make_handler(cgroup_writable=False), make_handler(name="nested", **WRITABLE | more))
        answer = judged("nested-cgroup", runtime=make_runtime(handlers=Reading("CRI", told)))
        assert ("nested would" in answer.outcome.message) == named


def test_old_containerd() -> None:
    """Before 2.1 there is no such setting."""
    assert on({"version": "1.7.24"}, {"cgroup_writable": absent("CRI")}) == "fail CgroupReadOnly"


def test_crio() -> None:
    """The annotation must be allowed, and 1.35.0 breaks it."""
    assert on({"name": "cri-o", "version": "1.35.1"}, WRITABLE) == "pass"
    assert on({"name": "cri-o", "version": "1.35.0"}, WRITABLE) == "fail CgroupDelegationBroken"
    told = Reading("CRI", (make_handler(**WRITABLE),))
    answer = judged("nested-cgroup", runtime=make_runtime(name="cri-o", version="1.36.3", handlers=told))
    assert any(request.startswith("annotation io.kubernetes.cri-o") for request in asked(answer))


def test_cgroup_v1() -> None:
    assert status(judged("nested-cgroup", kernel=make_kernel(cgroup_version=1))) == "fail NestedCgroupV1"


def test_no_limit_of_cgroups() -> None:
    """A Pod that may make any number of cgroups can take the node down."""
    told = Reading("CRI", (make_handler(**WRITABLE),))
    facts = {"runtime": make_runtime(handlers=told), "nested": make_nested(max_descendants="max")}
    assert status(judged("nested-cgroup", **facts)) == "warn"
