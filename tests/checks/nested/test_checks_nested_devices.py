"""/dev/fuse and /dev/net/tun."""

from __future__ import annotations

from typing import Any

import pytest

from lab.factory import absent, make_nested, make_runtime, unread
from lab.nested import asked, judged, status
from probe.reading import Reading


def test_crio_hands_them_out() -> None:
    """Only who hands both out for certain passes."""
    runtime = make_runtime(allowed_devices=Reading("CRI", ("/dev/fuse", "/dev/net/tun")))
    assert status(judged("nested-devices", runtime=runtime)) == "pass"
    assert (
        status(judged("nested-devices", runtime=make_runtime(allowed_devices=Reading("CRI", ("/dev/fuse",))))) == "warn"
    )


@pytest.mark.parametrize(
    "facts",
    [
        {"fuse_mode": 0o600},
        {"tun_mode": absent("/dev/net/tun")},
        {"device_plugins": ()},
        {"device_plugins": ("fuse.sock",)},
        {"steps": {"tun": {"result": "failed", "errno": "EPERM"}}},
    ],
)
def test_all_else_warns(facts: dict[str, Any]) -> None:
    """A rootless engine runs without them, in the Pod's own network, so none of it fails."""
    answer = judged("nested-devices", nested=make_nested(**facts))
    assert status(answer) == "warn"
    assert asked(answer) == ["device /dev/net/tun", "device /dev/fuse"]


def test_what_loads_the_modules() -> None:
    """A device node that is missing has its command, as one that is closed."""
    for mode, command in ((absent("/dev/fuse"), "modprobe -a fuse tun"), (0o600, "chmod 0666 /dev/fuse /dev/net/tun")):
        assert command in judged("nested-devices", nested=make_nested(fuse_mode=mode)).outcome.remediation


def test_without_a_trial() -> None:
    assert status(judged("nested-devices", nested=make_nested(trial=unread("nested trial")))) == "unknown NotPermitted"
