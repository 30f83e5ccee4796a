"""/sys inside a Pod."""

from __future__ import annotations

from lab.factory import make_mounts
from lab.nested import HUNG, PASSED, REFUSED, asked, judged, status


def test_statuses() -> None:
    """A read-only /sys is enough for all but privileged inner Pods, which need one that the node offers."""
    assert status(judged("nested-sysfs")) == "warn"
    assert status(judged("nested-sysfs", {"writable sysfs": PASSED})) == "pass"
    assert status(judged("nested-sysfs", mounts=make_mounts(writable_sysfs=("/run/sysfs/sys",)))) == "pass"
    assert status(judged("nested-sysfs", {"sysfs": REFUSED})) == "fail NestedSysfsRefused"
    assert status(judged("nested-sysfs", {"sysfs": HUNG})) == "unknown TimedOut"


def test_systemd_needs_empty_directories() -> None:
    assert {"tmpfs /run", "tmpfs /tmp"} <= set(asked(judged("nested-sysfs")))
