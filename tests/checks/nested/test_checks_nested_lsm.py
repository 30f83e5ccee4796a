"""AppArmor and SELinux."""

from __future__ import annotations

import pytest

from lab.factory import absent, make_kernel
from lab.nested import DOUBTFUL, REFUSED, asked, judged, status


def test_apparmor_and_selinux_are_left() -> None:
    """AppArmor's profile, and SELinux's type where it enforces; without either nothing is asked for."""
    assert asked(judged("nested-lsm")) == ["apparmor Unconfined"]
    fedora = judged("nested-lsm", kernel=make_kernel(lsm="capability,selinux", selinux_enforcing=True))
    assert (status(fedora), asked(fedora)) == ("warn", ["selinux container_engine_t"])
    neither = judged("nested-lsm", kernel=make_kernel(lsm="capability"))
    assert (status(neither), asked(neither)) == ("pass", [])


def test_unknown_modules() -> None:
    """Where nobody knows the modules, AppArmor is left in any case, which is harmless."""
    answer = judged("nested-lsm", kernel=make_kernel(lsm=absent("/sys/kernel/security/lsm")))
    assert (status(answer), asked(answer)) == ("warn", ["apparmor Unconfined"])


@pytest.mark.parametrize("step", ["rootless user namespace", "rootless tmpfs"])
def test_ubuntu(step: str) -> None:
    """apparmor_restrict_unprivileged_userns may deny the namespace, or the first mount in it."""
    denied = {"result": "failed", "errno": "EACCES"}
    assert status(judged("nested-lsm", {step: denied})) == "fail RootlessDenied"
    assert status(judged("nested-lsm", {step: REFUSED})) == "fail RootlessDenied"
    assert status(judged("nested-lsm", {step: DOUBTFUL})) == "unknown NotPermitted"


def test_a_spent_limit_is_no_matter_of_a_module() -> None:
    """ENOSPC belongs to another check."""
    assert status(judged("nested-lsm", {"rootless user namespace": {"result": "failed", "errno": "ENOSPC"}})) == "pass"
