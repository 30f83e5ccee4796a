"""The kernel and its switches, and how confined the probe is, from made-up files and from this machine."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.factory import unread
from lab.fake_host import FakeHost
from lab.prerequisites import require
from lab.real import kernel
from probe.facts.kernel import (
    NAMESPACE_KINDS,
    gather_distribution,
    gather_kernel,
    gather_probe,
    is_chrooted,
    parse_boot_id,
    parse_cgroup_version,
    parse_lsm,
    parse_os_release,
)
from probe.host.host import LocalHost
from probe.host.processes import parse_status
from probe.reading import Reading

ENTERED = Reading("/proc/1/ns/mnt", True)
BOOT_ID = "0f5a3c1e-7b1d-4f0e-9a55-2d7f3c0a9b11"
STATUS = "Name:\tprobe\nUid:\t0\t0\t0\t0\nThreads:\t1\nCapEff:\t000001ffffffffff\nSeccomp:\t2\n"
MOUNTINFO = "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 0:20 / /proc rw - proc proc rw\n"


def host(**changes: bytes | str | int | None) -> FakeHost:
    """A Debian node; a keyword is a path with `__` for each slash, None takes the file away."""
    files: dict[str, bytes | str | int] = {
        "/proc/self/status": STATUS,
        "/proc/self/mountinfo": MOUNTINFO,
        "/proc/self/cgroup": "0::/\n",
        "/proc/sys/kernel/osrelease": "6.12.38+deb13-amd64\n",
        "/proc/sys/kernel/arch": "x86_64\n",
        "/proc/sys/kernel/random/boot_id": f"{BOOT_ID}\n",
        "/proc/sys/kernel/unprivileged_userns_clone": "1\n",
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "0\n",
        "/sys/kernel/security/lsm": "lockdown,capability,yama,apparmor",
        "/sys/fs/selinux/enforce": "0",
        "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n',
    }
    files |= {f"/proc/sys/user/max_{kind}_namespaces": "96000\n" for kind in NAMESPACE_KINDS}
    for name, content in changes.items():
        path = name.replace("__", "/")
        if content is None:
            del files[path]
        else:
            files[path] = content
    return FakeHost(files=files)


def test_all_that_a_kernel_says() -> None:
    """Each file becomes the value that it holds."""
    facts = gather_kernel(host())
    assert facts.release == Reading("/proc/sys/kernel/osrelease", "6.12.38+deb13-amd64")
    assert facts.architecture == "x86_64"
    assert facts.boot_id.value == BOOT_ID
    assert facts.user_namespace_file.value == "user:[4026531837]"
    assert {name: limit.value for name, limit in facts.namespace_limits.items()} == {
        f"user.max_{kind}_namespaces": 96000 for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
    }
    assert (facts.unprivileged_userns_clone.value, facts.apparmor_restrict_unprivileged_userns.value) == (1, 0)
    assert facts.lsm.value == "lockdown,capability,yama,apparmor"
    assert facts.selinux_enforcing == Reading("/sys/fs/selinux/enforce", False)
    assert facts.cgroup_version.value == 2


def test_a_kernel_that_says_nothing() -> None:
    """Nothing there is a problem of each reading, and never a value."""
    facts = gather_kernel(FakeHost())
    readings = [facts.release, facts.boot_id, facts.lsm, facts.cgroup_version, *facts.namespace_limits.values()]
    assert {reading.kind for reading in readings} == {"absent"}
    assert facts.selinux_enforcing.kind == "absent"
    assert facts.architecture == os.uname().machine


@pytest.mark.parametrize(
    ("namespace", "entered", "name"),
    [
        ("uts:[4026531838]", errno.EPERM, "worker-7"),
        ("uts:[4026532999]", "node-7", "node-7"),
        ("uts:[4026532999]", "evil\x1b[2J", ""),
        ("uts:[4026532999]", errno.EPERM, ""),
    ],
)
def test_the_host_name_is_the_nodes(namespace: str, entered: str | int, name: str) -> None:
    """In a UTS namespace of its own, as a container has it, the probe asks in that of process 1, or names none."""
    node = host(__proc__sys__kernel__hostname="worker-7\n")
    node.links |= {"/proc/self/ns/uts": namespace, "/proc/1/ns/uts": "uts:[4026531838]"}
    node.hostname = entered
    assert gather_kernel(node).hostname == name


@pytest.mark.parametrize("content", ["", "evil\x1b[2J", "a b", "x" * 100, b"\xff"])
def test_a_host_name_that_could_do_harm(content: str | bytes) -> None:
    """Only a plain word is a name."""
    assert gather_kernel(host(__proc__sys__kernel__hostname=content)).hostname == ""


@pytest.mark.parametrize("content", ["", "many", "1 2", b"\xff", "0x10", "9" * 5000])
def test_a_limit_that_is_no_number(content: str | bytes) -> None:
    """Content that is not a number is a problem, not a limit."""
    facts = gather_kernel(host(__proc__sys__user__max_user_namespaces=content))
    assert facts.namespace_limits["user.max_user_namespaces"].kind == "not-readable"


@pytest.mark.parametrize("content", ["", "6.1\x1b[2J", "6.1 evil", "x" * 100, b"\xff"])
def test_a_release_that_could_do_harm(content: str | bytes) -> None:
    """What is no plain word is not handed on."""
    assert gather_kernel(host(__proc__sys__kernel__osrelease=content)).release.kind == "not-readable"


@pytest.mark.parametrize(
    ("content", "version"),
    [
        ("0::/init.scope\n", 2),
        ("0::/\n", 2),
        ("1:net_cls:/\n0::/user.slice\n", 2),
        ("1:name=systemd:/\n0::/user.slice\n", 2),
        ("12:memory:/\n5:cpu,cpuacct:/\n1:name=systemd:/init.scope\n", 1),
        ("12:pids:/\n1:name=systemd:/init.scope\n0::/init.scope\n", 1),
    ],
)
def test_the_version_of_cgroups(content: str, version: int) -> None:
    """Who counts processes and memory decides; a hierarchy beside it does not."""
    assert parse_cgroup_version(content) == version


@pytest.mark.parametrize("content", ["", "nonsense", "1:name=systemd:/\n"])
def test_no_version_of_cgroups(content: str) -> None:
    """A file without any such hierarchy is not understood."""
    with pytest.raises(ValueError, match="no cgroup hierarchy"):
        parse_cgroup_version(content)


@pytest.mark.parametrize(
    ("content", "distribution"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "debian 12"),
        ("ID='rhel'\nVERSION_ID='9.4'\n", "rhel 9.4"),
        ("ID=arch\n", "arch"),
        ("", "linux"),
        ("# ID=x\n  ID=talos  \nVERSION_ID=v1.9.0", "talos v1.9.0"),
        ("ID=a\nID=b\n", "b"),
        ('ID=""\nVERSION_ID=1', "linux 1"),
        ("ID=x\nPRETTY_NAME='unclosed\n", "x"),
    ],
)
def test_distributions(content: str, distribution: str) -> None:
    """Quotes, comments and repetitions are read as os-release(5) says."""
    assert parse_os_release(content) == distribution


@pytest.mark.parametrize("content", ["ID='x\n", "ID='a b'\n", "ID=\x1b[2J\n", f"ID={'x' * 70}\n", "ID=$(reboot)\n"])
def test_what_is_no_distribution(content: str) -> None:
    """A value that is no plain word is refused."""
    with pytest.raises(ValueError, match=r".+"):
        parse_os_release(content)


def test_where_the_distribution_is_told() -> None:
    """The file in /usr/lib counts only where the one in /etc does not exist."""
    elsewhere = FakeHost(files={"/usr/lib/os-release": "ID=flatcar\n"})
    assert gather_distribution(elsewhere) == Reading("/usr/lib/os-release", "flatcar")
    assert gather_distribution(host()) == Reading("/etc/os-release", "debian 13")
    assert gather_distribution(FakeHost(files={"/etc/os-release": f"ID={'x' * 70_000}"})).kind == "not-readable"
    refused = FakeHost(files={"/etc/os-release": errno.EACCES, "/usr/lib/os-release": "ID=flatcar\n"})
    assert gather_distribution(refused).kind == "not-permitted"


@given(st.text(max_size=200))
def test_parsers_know_values_and_value_errors_only(content: str) -> None:
    """No text makes a parser fail in another way, and none of their words has anything but plain characters."""
    for parse in (parse_os_release, parse_boot_id, parse_lsm, parse_cgroup_version, parse_status):
        try:
            parsed = parse(content)
        except ValueError:
            continue
        if isinstance(parsed, str):
            assert parsed.isprintable()
            assert parsed.isascii()


# --- the probe itself


def test_an_unconfined_probe() -> None:
    """Each field of its own status is taken over, as is what became of entering."""
    facts = gather_probe(host(), ENTERED)
    assert (facts.uid, facts.threads, facts.effective_capabilities) == (0, 1, (1 << 41) - 1)
    assert facts.seccomp == Reading("/proc/self/status", 2)
    assert facts.in_initial_user_namespace.value is True
    assert not is_chrooted(host())
    assert facts.entered == ENTERED


@pytest.mark.parametrize(
    "content", [None, "", "Uid:\t0\n", STATUS.replace("CapEff", "Cap"), STATUS.replace("Uid", "U")]
)
def test_a_probe_that_cannot_read_its_own_status(content: str | None) -> None:
    """Then it holds itself for one without rights."""
    facts = gather_probe(host(__proc__self__status=content), ENTERED)
    assert (facts.uid, facts.effective_capabilities) == (-1, 0)
    assert facts.seccomp.value is None


def test_a_kernel_without_seccomp() -> None:
    """It has no such line, and no filter."""
    facts = gather_probe(host(__proc__self__status=STATUS.replace("Seccomp:\t2\n", "")), ENTERED)
    assert facts.seccomp.value == 0


def test_a_probe_in_a_user_namespace() -> None:
    """Only the first one has that number."""
    confined = host()
    confined.links["/proc/self/ns/user"] = "user:[4026532252]"
    assert gather_probe(confined, ENTERED).in_initial_user_namespace.value is False


def test_a_kernel_without_user_namespaces() -> None:
    """There the link is missing while its siblings are there, and there is none but the first."""
    without = host()
    without.links["/proc/self/ns/user"] = errno.ENOENT
    assert gather_probe(without, ENTERED).in_initial_user_namespace.value is True
    without.links["/proc/self/ns/mnt"] = errno.ENOENT
    assert gather_probe(without, ENTERED).in_initial_user_namespace.kind == "absent"


def test_a_probe_in_a_chroot() -> None:
    """No mount has the name of its root."""
    assert is_chrooted(host(__proc__self__mountinfo=MOUNTINFO.replace(" / / ", " / /srv ")))
    assert not is_chrooted(host(__proc__self__mountinfo=None))


@pytest.mark.parametrize(
    ("namespace", "root", "chrooted"),
    [("mnt:[1]", "28", True), ("mnt:[1]", "29", False), ("mnt:[2]", "28", False), (None, "28", False)],
)
def test_a_probe_in_a_chroot_to_a_mount(namespace: str | None, root: str, chrooted: bool) -> None:
    """Process 1 of the same namespace has another root; of another one, or an unknown one, it tells nothing."""
    confined = host(__proc__1__mountinfo=f"{root} 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
    confined.files["/proc/self/mountinfo"] = "29 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    confined.links["/proc/self/ns/mnt"] = "mnt:[1]"
    confined.links["/proc/1/ns/mnt"] = namespace or errno.EACCES
    assert is_chrooted(confined) is chrooted


def test_a_node_that_was_not_entered() -> None:
    """Its problem travels along."""
    problem = unread("/proc/1/ns/mnt")
    assert gather_probe(host(), problem).entered == problem


# --- this machine


@pytest.mark.real
def test_this_kernel(local_host: LocalHost) -> None:
    """What is gathered here is what other programs say."""
    facts = gather_kernel(local_host)
    said = subprocess.run(["uname", "-r", "-m"], capture_output=True, text=True, check=True).stdout.split()
    assert [facts.release.value, facts.architecture] == said
    assert facts.boot_id.value is not None
    for limit in facts.namespace_limits.values():
        assert limit.value is not None, limit
        with open(limit.source) as file:
            assert int(file.read()) == limit.value
    filesystem = subprocess.run(["stat", "-fc", "%T", "/sys/fs/cgroup"], capture_output=True, text=True, check=False)
    assert facts.cgroup_version.value == (2 if filesystem.stdout.strip() == "cgroup2fs" else 1)


@pytest.mark.real
def test_this_process_in_odd_places(local_host: LocalHost) -> None:
    """A chroot and a user namespace are noticed by the process that is in one."""
    require(os.geteuid() == 0, "root")
    assert not is_chrooted(local_host)
    assert _in_child(lambda: kernel.unshare(kernel.CLONE_NEWUSER)) == "not initial"
    assert _in_child(_chroot) == "initial chrooted"


def _chroot() -> None:
    kernel.own_mount_namespace()
    kernel.mount("none", "/mnt", "tmpfs")
    for name in ("root", "root/proc"):
        os.mkdir(f"/mnt/{name}")
    kernel.mount("proc", "/mnt/root/proc", "proc")
    os.chroot("/mnt/root")


def _in_child(change: Callable[[], None]) -> str:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            change()
            node = LocalHost()
            facts = gather_probe(node, ENTERED)
            words = "initial" if facts.in_initial_user_namespace.value else "not initial"
            os.write(write_end, (words + " chrooted" * is_chrooted(node)).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


@pytest.mark.parametrize(
    ("files", "container"),
    [
        ({"/run/systemd/container": "lxc\n", "/.dockerenv": ""}, "lxc"),
        ({"/.dockerenv": ""}, "docker"),
        ({"/run/.containerenv": 'engine="podman"\n'}, "podman"),
        ({"/proc/1/environ": "TERM=linux\0container=lxc\0"}, "lxc"),
        ({"/proc/1/environ": "TERM=linux\0container=\0"}, None),
        ({"/etc/os-release": ""}, None),
        ({"/run/systemd/container": "a b; reboot\n"}, None),
    ],
)
def test_a_node_that_is_a_container(files: dict[str, bytes | str | int], container: str | None) -> None:
    """Its manager, from what systemd, docker or podman leave there; one word, or nothing."""
    host = FakeHost()
    host.files |= files
    assert gather_kernel(host).container.value == container
