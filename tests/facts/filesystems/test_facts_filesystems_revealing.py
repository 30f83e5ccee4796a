"""The rule for fresh mounts of proc and sysfs, against constructed tables and against the kernel itself."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from lab.prerequisites import require
from lab.real import kernel
from probe.facts.filesystems.revealing import ALWAYS_EMPTY, COVERING_LIMIT, cgroup_controllers, visibility
from probe.facts.model import Visibility
from probe.host import syscalls
from probe.host.mount_table import MountTable
from probe.host.mountinfo import parse_mountinfo

PLAIN = """\
20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
21 20 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:2 - proc proc rw
22 20 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:3 - sysfs sysfs rw
23 22 0:22 / /sys/fs/cgroup rw,nosuid,relatime shared:4 - cgroup2 cgroup2 rw
24 21 0:23 / /proc/sys/fs/binfmt_misc rw,relatime shared:5 - autofs systemd-1 rw,fd=29
"""


def judged(*lines: str, table: str = PLAIN) -> tuple[Visibility, Visibility]:
    mounts = MountTable(parse_mountinfo((table + "".join(f"{line}\n" for line in lines)).encode()))
    return visibility(mounts, "proc"), visibility(mounts, "sysfs")


def test_controllers_of_cgroup_v1_that_can_be_reached() -> None:
    """Those of hierarchies that are mounted and that no later mount covers; cgroup v2 has none here."""
    lines = (
        "30 23 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct",
        "31 23 0:31 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices",
        "32 31 0:32 / /sys/fs/cgroup/devices rw - tmpfs tmpfs rw,size=4k",
        "33 23 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup ro,name=systemd",
    )
    table = MountTable(parse_mountinfo((PLAIN + "".join(f"{line}\n" for line in lines)).encode()))
    assert cgroup_controllers(table) == ("cpu", "cpuacct", "name=systemd")


def test_a_plain_host_hides_nothing() -> None:
    """What is mounted on directories made for mounts hides nothing."""
    assert judged() == (Visibility(visible=True, covering=()), Visibility(visible=True, covering=()))


@pytest.mark.parametrize(
    ("lines", "covering"),
    [
        (["30 21 0:30 / /proc/tty rw,relatime - tmpfs tmpfs rw"], ("/proc/tty",)),
        (["30 21 0:6 /null /proc/keys rw,relatime - devtmpfs udev rw"], ("/proc/keys",)),
        (["30 21 0:20 /sys /proc/sys ro,relatime - proc proc rw"], ("/proc/sys",)),
        (["30 21 0:30 / /proc rw,relatime - tmpfs tmpfs rw"], ("/proc",)),
        (["30 21 0:30 / /proc/fs rw,relatime - tmpfs tmpfs rw"], ("/proc/fs",)),
        (
            [f"{30 + i} 21 0:{30 + i} / /proc/{i} rw,relatime - tmpfs tmpfs rw" for i in range(50)],
            tuple(f"/proc/{i}" for i in range(COVERING_LIMIT)),
        ),
    ],
)
def test_what_covers_proc_is_named(lines: list[str], covering: tuple[str, ...]) -> None:
    """Each mount point over a part of /proc is named, up to a limit, and /sys is judged by itself."""
    proc, sysfs = judged(*lines)
    assert proc == Visibility(visible=False, covering=covering)
    assert sysfs.visible


@pytest.mark.parametrize("point", ["/proc/ker\\040nel", "/proc/\\134", "/proc/\udcff"])
def test_odd_mount_points_are_printable(point: str) -> None:
    """What covers /proc can be put into JSON, whatever bytes its name has."""
    line = f"30 21 0:30 / {point} rw,relatime - tmpfs tmpfs rw\n"
    mounts = MountTable(parse_mountinfo(PLAIN.encode() + line.encode(errors="surrogateescape")))
    (covering,) = visibility(mounts, "proc").covering
    assert json.loads(json.dumps(covering).encode()) == covering
    assert covering.startswith("/proc/")


@pytest.mark.parametrize(
    ("options", "covering"),
    [
        ("ro,relatime", "option ro of /proc"),
        ("rw", "option strictatime of /proc"),
        ("rw,noatime", "option noatime of /proc"),
        ("rw,nodiratime,relatime", "option nodiratime,relatime of /proc"),
    ],
)
def test_options_that_a_fresh_proc_would_shake_off(options: str, covering: str) -> None:
    """Read-only and access times are kept: a mount that would loosen them is refused."""
    table = PLAIN.replace("/proc rw,nosuid,nodev,noexec,relatime", f"/proc {options}")
    assert judged(table=table)[0] == Visibility(visible=False, covering=(covering,))


def test_a_read_only_superblock_counts() -> None:
    """`ro` among the options of the file system binds a writable mount of it too."""
    table = PLAIN.replace("- proc proc rw", "- proc proc ro")
    assert judged(table=table)[0].covering == ("option ro of /proc",)


def test_a_read_only_sys_is_fine() -> None:
    """Runtimes mount /sys read-only for Pods."""
    table = PLAIN.replace("/sys rw,nosuid", "/sys ro,nosuid")
    assert judged(table=table)[1].visible


@pytest.mark.parametrize(
    "line",
    [
        "40 20 0:40 / /run/proc-clean rw,relatime - proc proc rw",
        "40 20 0:20 / /run/proc-clean rw,nosuid,nodev,noexec,relatime shared:2 - proc proc rw",
    ],
)
def test_a_second_whole_proc_heals(line: str) -> None:
    """One mount that hides nothing is enough, wherever it is."""
    assert judged("30 21 0:30 / /proc/tty rw,relatime - tmpfs tmpfs rw", line)[0].visible


@pytest.mark.parametrize("line", ["40 20 0:20 /sys /run/half rw,relatime - proc proc rw"])
def test_a_part_of_proc_does_not_heal(line: str) -> None:
    """A bind mount of a directory inside of proc counts for nothing."""
    assert not judged("30 21 0:30 / /proc/tty rw,relatime - tmpfs tmpfs rw", line)[0].visible


def test_without_any_proc_there_is_none_to_see() -> None:
    """A table without proc is answered in words, not with an empty list."""
    without = "".join(line for line in PLAIN.splitlines(keepends=True) if "/proc" not in line)
    assert judged(table=without)[0] == Visibility(visible=False, covering=("no whole proc is mounted",))


# --- the kernel itself

MS_REMOUNT, MS_BIND, MS_RDONLY, MS_NOATIME, MS_NODIRATIME, MS_STRICTATIME = 0x20, 0x1000, 0x1, 0x400, 0x800, 1 << 24
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_UNBINDABLE, MS_REC = 0x2, 0x4, 0x8, 1 << 17, 0x4000
FRESH = MS_NOSUID | MS_NODEV | MS_NOEXEC


def _tmpfs(*points: str) -> Callable[[str], None]:
    def setup(directory: str) -> None:
        for point in points:
            kernel.mount("none", point, "tmpfs")

    return setup


def _bind(source: str, target: str, flags: int = 0) -> None:
    kernel.mount(source, target, "", MS_BIND)
    if flags:
        kernel.mount("none", target, "", MS_BIND | MS_REMOUNT | flags)


def _remount(target: str, flags: int) -> Callable[[str], None]:
    return lambda directory: kernel.mount("none", target, "", MS_BIND | MS_REMOUNT | flags)


def _second(flags: int = 0, data: str = "", fstype: str = "proc", cover: str = "") -> Callable[[str], None]:
    """Cover the first one; mount a second one in another place."""

    def setup(directory: str) -> None:
        kernel.mount("none", "/proc/tty" if fstype == "proc" else "/sys/kernel", "tmpfs")
        kernel.mount(fstype, directory, fstype, flags, data)
        if cover:
            kernel.mount("none", f"{directory}/{cover}", "tmpfs")

    return setup


def _writable_mount_of_read_only_proc(directory: str) -> None:
    _second(MS_RDONLY)(directory)
    kernel.mount("none", directory, "", MS_BIND | MS_REMOUNT)


def _whole_bind(directory: str) -> None:
    kernel.mount("none", "/proc/tty", "tmpfs")
    _bind("/proc", directory)


def _half_bind(directory: str) -> None:
    _bind("/proc/sys", directory)
    kernel.detach("/proc")


def _unbindable(directory: str) -> None:
    _second()(directory)
    kernel.mount("none", directory, "", MS_UNBINDABLE)


def _nothing_left(directory: str) -> None:
    kernel.detach("/proc")
    kernel.detach("/sys")


CASES: dict[str, Callable[[str], None]] = {
    "plain": lambda directory: None,
    "tmpfs over /proc/tty": _tmpfs("/proc/tty"),
    "/dev/null over /proc/keys": lambda directory: _bind("/dev/null", "/proc/keys"),
    "read-only bind of /proc/sys": lambda directory: _bind("/proc/sys", "/proc/sys", MS_RDONLY),
    "tmpfs over an ordinary empty directory": _tmpfs("/proc/driver"),
    "tmpfs over /proc": _tmpfs("/proc"),
    "tmpfs over /sys/kernel": _tmpfs("/sys/kernel"),
    "tmpfs over /sys/fs": _tmpfs("/sys/fs"),
    "tmpfs over /sys/fs/cgroup": _tmpfs("/sys/fs/cgroup"),
    "tmpfs over /sys": _tmpfs("/sys"),
    "proc read-only": _remount("/proc", MS_RDONLY),
    "proc noatime": _remount("/proc", MS_NOATIME),
    "proc nodiratime": _remount("/proc", MS_NODIRATIME),
    "proc strictatime": _remount("/proc", MS_STRICTATIME),
    "sys read-only": _remount("/sys", MS_RDONLY),
    "sys noatime": _remount("/sys", MS_NOATIME),
    "second proc": _second(),
    "second proc, its binfmt_misc covered": _second(cover="sys/fs/binfmt_misc"),
    "second proc, covered too": _second(cover="fs"),
    "second proc read-only": _second(MS_RDONLY),
    "second proc, writable mount of a read-only one": _writable_mount_of_read_only_proc,
    "second proc with hidepid": _second(data="hidepid=2"),
    "second proc with subset": _second(data="subset=pid"),
    "second proc noatime": _second(MS_NOATIME),
    "second proc unbindable": _unbindable,
    "second sysfs": _second(fstype="sysfs"),
    "second sysfs read-only": _second(MS_RDONLY, fstype="sysfs"),
    "whole bind of a covered proc": _whole_bind,
    "bind of a part only": _half_bind,
    "neither proc nor sys": _nothing_left,
}


def _always_empty_here() -> Iterator[str]:
    for fstype, top in (("proc", "/proc"), ("sysfs", "/sys")):
        for name in sorted(ALWAYS_EMPTY[fstype]):
            with suppress(OSError):
                if stat.S_ISDIR(os.stat(f"{top}/{name}").st_mode):
                    yield f"{top}/{name}"


for empty in _always_empty_here():
    CASES[f"tmpfs over {empty}, made for mounts"] = _tmpfs(empty)


@pytest.fixture
def directories() -> Iterator[list[str]]:
    """Places to mount on, which the root of a user namespace can reach."""
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        os.chmod(base, 0o755)
        made = [f"{base}/{name}" for name in ("second", "proc", "sysfs")]
        for path in made:
            os.mkdir(path, 0o755)
        yield made


@pytest.mark.real
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_agrees(case: str, directories: list[str]) -> None:
    """What is predicted from the table is what happens to a process with the namespaces of a Pod."""
    require(os.geteuid() == 0, "root")
    predicted, happened = _try(CASES[case], directories)
    assert predicted == happened


@pytest.mark.real
def test_the_kernel_tells_the_cases_apart(directories: list[str]) -> None:
    """The trial can fail and can succeed: otherwise its agreement would mean nothing."""
    require(os.geteuid() == 0, "root")
    assert _try(CASES["plain"], directories)[1] == [True, True]
    assert _try(CASES["tmpfs over /proc"], directories)[1] == [False, True]
    assert _try(CASES["tmpfs over /sys"], directories)[1] == [True, False]


def _try(setup: Callable[[str], None], directories: list[str]) -> tuple[list[bool], list[bool]]:
    """(proc, sysfs) as predicted in a mount namespace that *setup* changed, and as they turned out."""
    answer_read, answer_write = os.pipe()
    ready_read, ready_write = os.pipe()
    mapped_read, mapped_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with_parent()
            kernel.own_mount_namespace()
            with open("/proc/self/mountinfo", "rb") as mountinfo:
                setup(directories[0])
                table = MountTable(parse_mountinfo(mountinfo.read()))
            predicted = [visibility(table, "proc").visible, visibility(table, "sysfs").visible]
            kernel.unshare(kernel.CLONE_NEWUSER)
            os.write(ready_write, b"r")
            os.read(mapped_read, 1)
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            os.write(answer_write, json.dumps((predicted, _mount_both(directories))).encode())
        finally:
            os._exit(0)
    for end in (answer_write, ready_write, mapped_read):
        os.close(end)
    try:
        if os.read(ready_read, 1):
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{pid}/{name}", "w") as file:
                    file.write("0 1000000 65536")
        os.write(mapped_write, b"m")
        with open(answer_read) as answer:
            predicted, happened = json.load(answer)
    finally:
        os.close(ready_read)
        os.close(mapped_write)
        os.waitpid(pid, 0)
    return predicted, happened


def _mount_both(directories: list[str]) -> list[bool]:
    """Whether a process with all namespaces of its own may mount proc, and sysfs read-only."""
    kernel.unshare(
        kernel.CLONE_NEWNS
        | syscalls.CLONE_NEWPID
        | syscalls.CLONE_NEWNET
        | syscalls.CLONE_NEWIPC
        | syscalls.CLONE_NEWUTS
        | syscalls.CLONE_NEWCGROUP
    )
    pid = os.fork()
    if pid == 0:
        status = 0b1000
        try:
            status = _mounts("proc", directories[1], FRESH) | _mounts("sysfs", directories[2], FRESH | MS_RDONLY) << 1
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status < 0b100
    return [bool(status & 1), bool(status & 2)]


def _mounts(fstype: str, target: str, flags: int) -> int:
    """1 when it works, 0 when it is refused with EPERM; all else is an error of the trial."""
    try:
        kernel.mount(fstype, target, fstype, flags)
    except PermissionError:
        return 0
    return 1
