"""From wherever the probe looks at a node, it says the same of it, or that it could not look."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.kernels import seccomp
from lab.kernels.scenarios import CIRCUMSTANCES
from lab.real.node import Node, Probed, measured

pytestmark = pytest.mark.real

ELSEWHERE = "host/proc"
"""Where the container has the node's /proc, below its own directory."""
LEAST = "sys_admin,setuid,setgid,sys_chroot,sys_ptrace,dac_read_search"
"""The capabilities of the least-privileged form that enters the node."""
_FREE = re.compile(r"\d+ bytes, \d+ inodes free")


@contextmanager
def container(node: Node) -> Iterator[Callable[..., Probed]]:
    """A container on the node: mounts, processes and a /proc of its own, and the node's /proc somewhere else.

    Yields what runs the probe inside; *wrapper* is a command that runs it with less.
    """
    place = node.path("container")
    os.makedirs(f"{place}/{ELSEWHERE}")
    # Not the node's PID namespace: what sees itself there is no container without hostPID.
    hide = f"""
        mount --bind /proc {place}/{ELSEWHERE} && mount -t proc proc /proc &&
        mount -t tmpfs hidden {node.root} && mount -t tmpfs hidden /run && exec "$@"
    """
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", hide, "sh"]

    def probe(*arguments: str, wrapper: tuple[str, ...] = ()) -> Probed:
        command = [sys.executable, "-m", "probe", "-o", "json", "--proc", f"{place}/{ELSEWHERE}", *arguments]
        return measured(node.inside(*alone, *wrapper, *command))

    yield probe


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what every probe has anew, and what describes the probe and not the node."""
    anew = ("probed_at", "expires_at", "duration_seconds", "since")  # only `watch` knows since when a verdict holds
    same = {key: value for key, value in report.items() if key not in anew}
    same["node"] = {key: value for key, value in same["node"].items() if key != "uptime_seconds"}
    same["findings"] = [each for each in same["findings"] if each["id"] != "probe-privileges"]
    for finding in same["findings"]:
        finding["evidence"] = [each for each in finding["evidence"] if not each.get("value", "").startswith("took ")]
        for each in finding["evidence"]:
            if _FREE.fullmatch(each.get("value", "")):  # anybody may write to the disk between two looks
                each["value"] = "free"
        # Two looks of one probe are one line when they say the same.
        finding["evidence"] = [
            each for n, each in enumerate(finding["evidence"]) if each not in finding["evidence"][:n]
        ]
    return same


def assert_confined(probed: Probed) -> None:
    """The probe could not look, so it says nothing of the node, neither good nor bad."""
    assert (probed.code, probed.report["verdict"]) == (2, "unknown"), probed.stdout
    assert probed.stderr == ""
    assert [each["id"] for each in probed.report["findings"] if each["status"] == "fail"] == []
    assert {row["result"] for row in probed.report["filesystems"]} <= {"unknown", "supported"}


def test_from_a_container_the_node_looks_the_same(node: Node) -> None:
    """Whatever the container's own mounts and processes are: all of it is the node's."""
    with node.kubelet(), container(node) as probe:
        outside, inside = node.probe(), probe()
    assert outside.verdict == inside.verdict == (0, "ready", "")
    assert comparable(inside.report) == comparable(outside.report)


def test_the_least_privileges_do(node: Node) -> None:
    """Those six capabilities are enough for every attempt; only the runtime may do more than the probe."""
    kept = f"-all,{','.join('+' + name for name in LEAST.split(','))}"
    with node.kubelet(), container(node) as probe:
        probed = probe(wrapper=("setpriv", f"--bounding-set={kept}"))
    assert probed.finding("probe-privileges")["status"] == "pass"
    assert probed.verdict == (0, "ready", ""), probed.stdout


@pytest.mark.parametrize("name", LEAST.split(","))
def test_one_privilege_less(name: str, node: Node) -> None:
    """Without one of them it is unknown, or as before where that one is mere comfort; never worse."""
    kept = f"-all,{','.join('+' + each for each in LEAST.split(',') if each != name)}"
    with node.kubelet(), container(node) as probe:
        probed = probe(wrapper=("setpriv", f"--bounding-set={kept}"))
    if name == "dac_read_search" and probed.code == 0:
        return
    assert_confined(probed)


@pytest.mark.parametrize("least", ["sys_admin", "all"])
def test_without_privileges(least: str, node: Node) -> None:
    """Whoever lacks CAP_SYS_ADMIN cannot try anything."""
    with node.kubelet():
        probed = node.probe(wrapper=("setpriv", f"--bounding-set=-{least}"))
    assert_confined(probed)
    assert probed.report["reason"] == "NotPermitted"


def test_another_user(node: Node) -> None:
    """Not even a process of the node is seen whole."""
    with node.kubelet():
        probed = node.probe(wrapper=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert_confined(probed)
    assert probed.report["reason"] in ("NotPermitted", "KubeletNotFound")


@pytest.mark.parametrize("options", [("--map-root-user",), ("--map-root-user", "--mount"), ()])
def test_in_a_user_namespace(options: tuple[str, ...], node: Node) -> None:
    """As in a Pod with hostUsers: false, root is nobody on the node there."""
    with node.kubelet():
        assert_confined(node.probe(wrapper=("unshare", "--user", *options)))


def test_in_a_chroot(node: Node) -> None:
    """Not even root may make a user namespace there."""
    root = node.path("chroot")
    os.mkdir(root)
    with node.kubelet():
        node.run("mount", "--rbind", "/", root)
        try:
            probed = node.probe(wrapper=("chroot", root))
        finally:
            node.run("umount", "--recursive", "--lazy", root)
    assert_confined(probed)
    assert probed.report["reason"] == "NotPermitted"


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("system_calls", [seccomp.MOUNT_SETATTR, seccomp.MOUNT_API, seccomp.NAMESPACES])
def test_under_a_seccomp_filter(system_calls: tuple[int, ...], error: str, node: Node) -> None:
    """The filter answers in the place of the kernel, as an old kernel or a forbidden attempt would be answered."""
    filtered = (sys.executable, "-I", seccomp.__file__, error, ",".join(map(str, system_calls)))
    with node.kubelet():
        probed = node.probe(wrapper=filtered)
    assert_confined(probed)
    assert probed.report["reason"] == "NotPermitted"
    assert set(probed.report["levels"].values()) == {"unknown"}
    assert CIRCUMSTANCES["seccomp"] in probed.finding("probe-privileges")["message"]


def test_another_nodes_proc(node: Node) -> None:
    """A --proc that is none is a problem like any other."""
    with node.kubelet():
        probed = node.probe("-o", "json", "--proc", node.directory)
    assert probed.code == 2
    assert probed.stderr == ""
