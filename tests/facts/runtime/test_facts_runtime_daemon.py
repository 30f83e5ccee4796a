"""Which process the container runtime is, and what binds it."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cri_recordings import recorded_answer
from lab.fake_host import FakeHost
from probe.facts.runtime.daemon import (
    find_daemon,
    gather_confinement,
    parse_flag,
    parse_listeners,
    read_arguments,
    read_search_path,
)
from probe.host.cri import CriAnswer, no_answer
from probe.reading import Reading

ENDPOINT = "/run/containerd/containerd.sock"
POD_CGROUP = "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-1.scope\n"


def _answer(listener: int = 0, name: str = "containerd-2.1.9") -> CriAnswer:
    return recorded_answer(name, ENDPOINT, listener)


def test_listener_is_the_daemon() -> None:
    """The process that the kernel names as the socket's peer is the daemon, whatever it is called."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd")
    host.add_process(701, "/usr/bin/containerd")
    assert find_daemon(host, _answer(701)).value == 701


def test_a_proxy_is_not_the_runtime() -> None:
    """Koordinator's runtime proxy listens for the kubelet, and containerd, which makes the Pods, for the proxy."""
    host = FakeHost()
    host.add_process(600, "/usr/local/bin/koord-runtime-proxy", name="koord-runtime-p")
    assert find_daemon(host, _answer(600)).value == 600  # nothing else is there, so the runtime is a part of it
    host.add_process(700, "/usr/bin/containerd")
    assert find_daemon(host, _answer(600)).value == 700
    host.add_process(701, "/usr/bin/containerd")
    assert "several processes" in find_daemon(host, _answer(600)).problem


@pytest.mark.parametrize(
    ("name", "exe"), [("containerd-2.1", "/opt/containerd-2.1"), ("x", "/nix/.containerd-wrapped")]
)
def test_a_runtime_of_another_name(name: str, exe: str) -> None:
    """A name that contains the runtime's own is no proxy's."""
    host = FakeHost()
    host.add_process(600, exe, name=name)
    host.add_process(700, "/usr/bin/containerd")
    assert find_daemon(host, _answer(600)).value == 600


@pytest.mark.parametrize(
    "pretence",
    [{"cgroup": POD_CGROUP}, {"uid": 1000}, {"user_namespace": "user:[4026532500]"}, {"nspid": "700 1"}],
    ids=["cgroup", "UID", "user namespace", "PID namespace"],
)
@pytest.mark.parametrize("listener", [700, 0], ids=["seen", "not seen"])
def test_imitation_is_no_daemon(pretence: dict[str, str], listener: int) -> None:
    """A Pod's process that is called like the daemon, or even listens, is not taken for it; nothing of it is read."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd", **pretence)  # type: ignore[arg-type]
    daemon = find_daemon(host, _answer(listener))
    assert daemon.value is None
    assert "700 is not a daemon of this node" in daemon.problem
    assert gather_confinement(host, daemon).problem == daemon.problem
    assert not {"/proc/700/environ", "/proc/700/attr/current", "/proc/700/cmdline"} & set(host.touched)


@pytest.mark.parametrize("listener", [0, 1], ids=["another PID namespace", "systemd's socket"])
def test_found_by_name(listener: int) -> None:
    """Where the kernel does not say who listens, the one daemon of that name is it; a Pod's does not count."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd")
    host.add_process(900, "/usr/bin/containerd", cgroup=POD_CGROUP)
    host.add_process(901, "/usr/bin/containerd-shim-runc-v2", name="containerd-shim")
    assert find_daemon(host, _answer(listener)).value == 700


def test_crio_by_name() -> None:
    """CRI's `cri-o` is the process `crio`."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/crio")
    assert find_daemon(host, _answer(name="cri-o-1.37.0-dev")).value == 700


def _listen(host: FakeHost, pid: int, endpoint: str, inode: int) -> None:
    header = "Num       RefCount Protocol Flags    Type St Inode Path\n"
    line = f"0000000000000000: 00000002 00000000 00010000 0001 01 {inode} {endpoint}\n"
    host.files[f"/proc/{pid}/net/unix"] = header + line
    host.files[f"/proc/{pid}/fd/8"] = ""
    host.links[f"/proc/{pid}/fd/8"] = f"socket:[{inode}]"


def test_of_several_the_one_that_listens() -> None:
    """Docker's containerd, or Talos' own, beside Kubernetes': the one that holds the socket is meant."""
    host = FakeHost()
    for pid, endpoint in ((700, "/run/docker/containerd/containerd.sock"), (701, ENDPOINT)):
        host.add_process(pid, "/usr/bin/containerd")
        _listen(host, pid, endpoint, 40_000 + pid)
    assert find_daemon(host, _answer()).value == 701


def test_a_strange_name_of_a_socket_hides_no_other() -> None:
    """Anybody may give a socket a name that is not UTF-8."""
    host = FakeHost()
    for pid, endpoint in ((700, "/run/docker/containerd/containerd.sock"), (701, ENDPOINT)):
        host.add_process(pid, "/usr/bin/containerd")
        _listen(host, pid, endpoint, 40_000 + pid)
        host.files[f"/proc/{pid}/net/unix"] = host.files[f"/proc/{pid}/net/unix"].encode() + b"0: 2 0 0 1 1 9 @\xff\n"
    assert find_daemon(host, _answer()).value == 701


def test_of_several_none_known_to_listen() -> None:
    """Of several of which none is known to listen, none is chosen."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd")
    host.add_process(701, "/usr/bin/containerd")
    assert "which of them listens" in find_daemon(host, _answer()).problem


def test_nobody() -> None:
    """Without such a process there is no daemon, and without an answer none is looked for."""
    assert find_daemon(FakeHost(), _answer()).problem.startswith("no process is called containerd")
    silent = find_daemon(FakeHost(), no_answer(ENDPOINT, "timed-out", "no answer in time"))
    assert (silent.kind, silent.problem) == ("timed-out", "no answer in time")


def test_processes_not_permitted() -> None:
    """What could not be looked at keeps its kind."""
    host = FakeHost(processes_problem=Reading.without("/proc", "not-permitted", "Permission denied"))
    assert find_daemon(host, _answer()).kind == "not-permitted"
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd")
    host.links["/proc/700/ns/user"] = errno.EACCES
    assert find_daemon(host, _answer(700)).kind == "not-permitted"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"0: 2 0 00010000 0001 01 77 {ENDPOINT}", {"socket:[77]"}),
        (f"0: 2 0 00010000 0001 01 77 /var{ENDPOINT}", {"socket:[77]"}),
        (f"0: 3 0 00000000 0001 03 77 {ENDPOINT}", set()),  # a connection, not the listener
        (f"0: 2 0 00010000 0001 01 77 {ENDPOINT}.other", set()),
        ("0: 2 0 00010000 0001 01 77", set()),
        (f"0: 2 0 nonsense 0001 01 77 {ENDPOINT}", set()),
    ],
)
def test_listeners(line: str, found: set[str]) -> None:
    """Only listening sockets of exactly that path count; /var/run is /run."""
    assert parse_listeners(line, ENDPOINT) == found


@given(st.text(), st.text())
def test_listeners_of_any_text(table: str, endpoint: str) -> None:
    """No table raises anything."""
    parse_listeners(table, endpoint)


def test_confinement() -> None:
    """What binds a daemon is read from its pid, in the kernel's words."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd", capabilities=0x1FFFFFFFFFF)
    host.files["/proc/700/attr/current"] = "cri-containerd.apparmor.d (enforce)\n"
    confinement = gather_confinement(host, Reading("/proc/700", 700)).value
    assert confinement is not None
    assert confinement.effective_capabilities.value == 0x1FFFFFFFFFF
    assert confinement.seccomp.value == 0
    assert confinement.in_initial_user_namespace.value is True
    assert confinement.label.value == "cri-containerd.apparmor.d (enforce)"
    assert confinement.root.value == "/"
    assert confinement.unit.value == "kubelet.service"


@pytest.mark.parametrize(
    ("content", "label"),
    [
        (errno.EINVAL, ""),
        (errno.ENOENT, ""),
        ("unconfined\n", "unconfined"),
        ("system_u:system_r:container_runtime_t:s0\0", "system_u:system_r:container_runtime_t:s0"),
        (errno.EACCES, None),
        (b"\xff", None),
    ],
    ids=["no module", "no CONFIG_SECURITY", "AppArmor", "SELinux", "not permitted", "binary"],
)
def test_label(content: int | str | bytes, label: str | None) -> None:
    """EINVAL means that no security module labels processes; not being permitted to look means nothing."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd")
    host.files["/proc/700/attr/current"] = content
    confinement = gather_confinement(host, Reading("/proc/700", 700)).value
    assert confinement is not None
    assert confinement.label.value == label


def test_other_user_namespace() -> None:
    """A daemon in a child of the initial user namespace is told apart by the namespace's number."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd", user_namespace="user:[4026532500]")
    confinement = gather_confinement(host, Reading("/proc/700", 700)).value
    assert confinement is not None
    assert confinement.in_initial_user_namespace.value is False


@pytest.mark.parametrize("content", ["", "CapEff:\tnonsense\nUid:\t0\n", "Uid:\t0\t0\t0\t0\n"])
def test_confinement_of_odd_status(content: str) -> None:
    """A status without a readable CapEff is a problem of that part."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd")
    host.files["/proc/700/status"] = content
    confinement = gather_confinement(host, Reading("/proc/700", 700)).value
    assert confinement is not None
    assert confinement.effective_capabilities.kind == "not-readable"


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["containerd", "-c", "/a"], "/a"),
        (["containerd", "-c=/a"], "/a"),
        (["containerd", "--config", "/a"], "/a"),
        (["containerd", "-config=/a"], "/a"),
        (["containerd", "--config=/a", "-c", "/b"], "/b"),
        (["containerd", "--configuration", "/a"], None),
        (["containerd", "config", "/a"], None),
        (["containerd", "-c"], None),
        ([], None),
    ],
)
def test_flag(arguments: list[str], value: str | None) -> None:
    """A flag is found in each spelling that Go's programs accept."""
    assert parse_flag(arguments, "c", "config") == value


def test_search_path() -> None:
    """PATH is taken from the environment, its absolute directories only; all else is left."""
    host = FakeHost()
    host.add_process(700, "/usr/bin/containerd", environment={"SECRET": "PATH=/x", "PATH": "/a::b:/c"})
    assert read_search_path(host, 700).value == ("/a", "/c")
    host.add_process(701, "/usr/bin/containerd", environment={"HOME": "/root"})
    assert read_search_path(host, 701).problem == "not understood: no PATH"


def test_arguments() -> None:
    """A command line of other bytes than UTF-8 is read all the same."""
    host = FakeHost(files={"/proc/7/cmdline": b"containerd\0-c\0/etc/\xff\0"})
    assert read_arguments(host, 7).value == ("containerd", "-c", os.fsdecode(b"/etc/\xff"))
