"""Sysctls in the namespaces of a Pod, tried on the real kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.prerequisites import require
from probe.host.host import LocalHost
from probe.host.namespaces import open_own_proc
from probe.host.sysctls import sysctl_path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net/../../etc/passwd", ""),
        ("/etc/passwd", ""),
        ("", ""),
        ("a..b", ""),
        ("net.\0", ""),
    ],
)
def test_the_file_of_a_sysctl(name: str, path: str) -> None:
    """It lies below /proc/sys, or there is none."""
    assert sysctl_path(name) == path


@pytest.fixture
def host() -> Iterator[LocalHost]:
    """This node, as the probe sees it."""
    require(os.geteuid() == 0, "root")
    with closing(LocalHost()) as found:
        found.own_proc = open_own_proc()
        yield found
        os.close(found.own_proc)


@pytest.mark.real
def test_what_a_pod_may_set(host: LocalHost) -> None:
    """The kernel itself judges name and value, and nothing of the node has changed afterwards."""
    wanted = {
        "net.ipv4.ip_default_ttl": "70",
        "net.ipv4.ip_local_port_range": "70000 80000",
        "net.nobody": "1",
        "net/ipv4/ip_forward": "many",
        "vm.swappiness": "1",
        "net/../vm/swappiness": "1",
    }
    before = {name: Path("/proc/sys", name).read_text() for name in ("net/ipv4/ip_default_ttl", "vm/swappiness")}
    found = host.try_sysctls(wanted)
    assert {name: one.value for name, one in found.items() if one.kind is None} == {
        "net.ipv4.ip_default_ttl": "",
        "net.ipv4.ip_local_port_range": "EINVAL",
        "net.nobody": "ENOENT",
        "net/ipv4/ip_forward": "EINVAL",
    }
    assert found.keys() == wanted.keys()
    assert before == {name: Path("/proc/sys", name).read_text() for name in before}


@pytest.mark.real
def test_without_a_place_to_try_nothing_is_known(host: LocalHost) -> None:
    """Whatever refuses the attempt itself is no answer about a sysctl."""
    os.close(host.own_proc)
    host.own_proc = os.open("/", os.O_PATH)
    assert host.try_sysctls({"net.ipv4.ip_default_ttl": "70"})["net.ipv4.ip_default_ttl"].kind == "not-tried"
