"""Why a kubelet that does not run may not start."""

from __future__ import annotations

import errno

import pytest

from lab.fake_host import FakeHost
from probe.facts.ids.absent import gather_getsubids_missing

PASSWD = "root:x:0:0:root:/root:/bin/sh\nkubelet:x:987:987::/:/sbin/nologin\n"
UNIT = "/etc/systemd/system/kubelet.service"


def node(passwd: str | int = PASSWD) -> FakeHost:
    """A node without a kubelet."""
    return FakeHost(files={"/etc/passwd": passwd})


def test_an_account_without_getsubids() -> None:
    """From 1.30 on the kubelet ends with it."""
    assert gather_getsubids_missing(node()).value is True
    assert gather_getsubids_missing(node("root:x:0:0::/:/bin/sh\nkubelets:x:1:1::/:\n")).value is False


@pytest.mark.parametrize(
    ("folder", "unit", "missing"),
    [
        ("/usr/bin", "", False),
        ("/opt/bin", "", True),
        ("/opt/bin", 'Environment="PATH=/opt/bin:relative"', False),
        ("/usr/bin", "Environment=PATH=/nix/store/x/bin", True),
        ("/nix/b", "Environment=PATH=/nix/a\nEnvironment=PATH=/nix/b", False),
        ("/nix/a", "Environment=PATH=/nix/a\nEnvironment=PATH=/nix/b", True),
        ("/opt/bin", 'Environment=A=1 "PATH=/opt/bin"', False),
        ("/usr/bin", "# Environment=PATH=/nowhere", False),
        ("/usr/bin", 'Environment="GOPATH=/nowhere"', False),
        ("/usr/bin", 'Environment="GOPATH=/nowhere" "PATH=/elsewhere"', True),
    ],
)
def test_the_path_of_the_unit(folder: str, unit: str, missing: bool) -> None:
    """The last one counts, as systemd reads it; without any, systemd's own."""
    host = node()
    host.files[f"{folder}/getsubids"] = "x"
    host.modes[f"{folder}/getsubids"] = 0o755
    host.files[UNIT] = f"[Service]\n{unit}\n"
    assert gather_getsubids_missing(host).value is missing


def test_drop_in_files_come_after_the_unit() -> None:
    """Whatever their directory."""
    host = node()
    host.files[UNIT] = "[Service]\nEnvironment=PATH=/a\n"
    host.files["/usr/lib/systemd/system/kubelet.service.d/1.conf"] = "[Service]\nEnvironment=PATH=/b\n"
    host.files["/b/getsubids"] = "x"
    host.modes["/b/getsubids"] = 0o755
    assert gather_getsubids_missing(host).value is False


def test_what_cannot_be_read_is_no_answer() -> None:
    """Neither way."""
    assert gather_getsubids_missing(node(errno.EACCES)).kind == "not-permitted"
    host = node()
    host.files["/usr/local/sbin/getsubids"] = errno.EIO
    assert gather_getsubids_missing(host).value is None
    for file in (UNIT, f"{UNIT}.d", f"{UNIT}.d/1.conf"):
        host = node()
        host.files[file] = errno.EIO
        assert gather_getsubids_missing(host).kind == "not-readable"
