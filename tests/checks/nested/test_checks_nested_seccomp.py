"""seccomp profiles of the runtimes."""

from __future__ import annotations

import pytest

from lab.factory import make_kubelet, make_runtime, unread
from lab.nested import asked, judged, status


@pytest.mark.parametrize(
    ("runtime", "expected", "profile"),
    [("containerd", "warn", "Unconfined"), ("cri-o", "pass", "RuntimeDefault"), ("other", "warn", "Unconfined")],
)
def test_profile(runtime: str, expected: str, profile: str) -> None:
    """containerd's own profile refuses what engines call, CRI-O's does not; of others nothing is known."""
    answer = judged("nested-seccomp", runtime=make_runtime(name=runtime))
    assert (status(answer), asked(answer)) == (expected, [f"seccomp {profile}"])


@pytest.mark.parametrize("default", [True, False, unread("seccompDefault")])
def test_what_the_kubelet_gives(default: object) -> None:
    """seccompDefault changes what is said, never what the Pod asks for."""
    answer = judged("nested-seccomp", kubelet=make_kubelet(seccomp_default=default))
    assert (status(answer), asked(answer)) == ("warn", ["seccomp Unconfined"])


def test_unknown_runtime() -> None:
    """Without a runtime it is unknown."""
    assert status(judged("nested-seccomp", runtime=unread("CRI"))) == "unknown NotPermitted"
