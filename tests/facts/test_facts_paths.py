"""Paths that somebody asks about: what they lead to, and which are left alone."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from lab import forked
from lab.factory import make_attempt, make_refusal
from lab.fake_host import FakeHost
from lab.prerequisites import require
from probe.facts import paths
from probe.facts.filesystems.rules import Subject
from probe.facts.paths import find_paths, gather_paths, runtime_namespace, with_owner
from probe.facts.tried import Attempt
from probe.host.files import real_path
from probe.host.host import LocalHost
from probe.host.mountinfo import parse_mountinfo
from probe.host.places import Place
from probe.settings import Settings

ROOT = Path(__file__).parents[2]
MOUNTS = parse_mountinfo(
    b"""1 0 8:1 / / rw - ext4 /dev/sda rw
2 1 0:40 / /mnt/nas rw - autofs systemd-1 rw,direct
3 1 0:41 / /mnt/tape rw - autofs systemd-1 rw,direct
4 3 0:42 / /mnt/tape rw - nfs4 server:/tape rw
5 1 0:43 / /mnt/dead rw - nfs4 server:/dead rw
6 1 0:44 / /mnt/disk rw - xfs /dev/sdb rw
"""
)


def find(host: FakeHost, path: str, held: Sequence[str] = ()) -> Subject | Attempt:
    (found,) = find_paths(host, MOUNTS, [path], frozenset(held))
    return found


@pytest.mark.parametrize(
    ("path", "above"),
    [
        ("/srv/new", "/srv"),
        ("/srv/a/b/c/", "/srv"),
        ("/mnt/disk/new", "/mnt/disk"),
        ("/link/new", "/srv"),
        ("/srv", "/srv"),
        ("/dangling", None),
        ("/dangling/x", None),
        ("/srv/../new", None),
        ("/file/x", None),
        ("/mnt/nas/new", None),
        ("/new" * 100, None),
    ],
)
def test_the_directory_on_which_a_path_would_be_made(tmp_path: Path, path: str, above: str | None) -> None:
    """The nearest one above it; none through a symlink that leads nowhere, a file, an automount, or too many levels."""
    for name in ("srv", "mnt/disk", "mnt/nas"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "link").symlink_to("srv")
    top = str(tmp_path)
    mounts = [msgspec.structs.replace(one, mount_point=top + one.mount_point.rstrip("/")) for one in MOUNTS]
    host = LocalHost()
    try:
        (found,) = find_paths(host, mounts, [top + path], frozenset(), made=True)
    finally:
        host.close()
    assert (found.path if isinstance(found, Subject) else None) == (above and top + above)


@pytest.mark.parametrize("path", ["/mnt/nas", "/mnt/nas/", "/mnt/./nas"])
def test_an_automount_that_is_not_mounted_is_left_alone(path: str) -> None:
    """The row names it as what it is, says why it is unknown, and nothing was touched."""
    host = FakeHost()
    row = find(host, path)
    assert isinstance(row, Attempt)
    assert (row.result, row.kind, row.fstype, row.path) == ("unknown", "not-tried", "autofs", path)
    assert host.touched == []


def test_a_way_into_an_automount_ends_there() -> None:
    """A symlink may lead to it as well."""
    host = FakeHost(files={"/mnt/nas": ""}, links={"/home": "/mnt/nas"})
    row = find(host, "/home")
    assert isinstance(row, Attempt)
    assert (row.result, row.kind, row.fstype) == ("unknown", "not-tried", "autofs")


def test_an_automount_that_is_mounted_is_what_is_mounted() -> None:
    subject = find(FakeHost(), "/mnt/tape")
    assert isinstance(subject, Subject)
    assert (subject.fstype, subject.device) == ("nfs4", "0:42")


def test_a_path_that_does_not_exist_has_no_file_system() -> None:
    """Neither type nor device of the directory above it is its own."""
    row = find(FakeHost(), "/mnt/disk/none")
    assert isinstance(row, Attempt)
    assert (row.result, row.fstype, row.device, row.path) == ("unknown", "", "", "/mnt/disk/none")
    assert row.reason == os.strerror(errno.ENOENT)


def test_a_path_on_a_silent_server_names_its_file_system() -> None:
    """What is asked for behind the same server is not asked for again."""
    host = FakeHost()
    row = find(host, "/mnt/dead/volume", held=["0:43"])
    assert isinstance(row, Attempt)
    assert (row.result, row.kind, row.fstype, row.device) == ("unknown", "timed-out", "nfs4", "0:43")
    assert host.touched == []


def test_dots_say_nothing_of_the_mount_table() -> None:
    """`/mnt/disk/link/..` is not `/mnt/disk`: where it leads, the kernel says."""
    host = FakeHost(files={"/srv": ""}, links={"/mnt/disk/link/..": "/srv"})
    subject = find(host, "/mnt/disk/link/..")
    assert isinstance(subject, Subject)
    assert (subject.path, subject.fstype) == ("/srv", "ext4")


def test_the_kernel_finds_the_same_place(tmp_path: Path) -> None:
    """`..` leads out of where a symlink led; each answer is that of an open descriptor."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/file").touch()
    (tmp_path / "link").symlink_to("a/b")
    (tmp_path / "far").symlink_to("/proc/self/../sys")
    for name in ("link/..", "link/../file", "link/.././b/", "far", "far/..", ".", "a//b", "link"):
        handle = os.open(tmp_path / name, os.O_PATH)
        expected = os.readlink(f"/proc/self/fd/{handle}")
        os.close(handle)
        assert os.fsdecode(real_path(f"{tmp_path}/{name}")) == expected, name


@pytest.mark.parametrize(
    ("name", "number"),
    [("file/..", errno.ENOTDIR), ("file/", errno.ENOTDIR), ("none/..", errno.ENOENT), ("loop", errno.ELOOP)],
)
def test_what_the_kernel_does_not_find(tmp_path: Path, name: str, number: int) -> None:
    """Though the text alone would lead somewhere."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        real_path(f"{tmp_path}/{name}")
    assert raised.value.errno == number


def test_a_killed_child_leaves_the_path_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever kills it: the out-of-memory killer, say."""
    monkeypatch.setattr(paths, "_try_paths", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    (row,) = gather_paths(Settings(), ["/srv"])
    assert (row.path, row.result, row.kind, row.fstype) == ("/srv", "unknown", "not-readable", "")
    assert "signal 9" in row.reason


def run_path(*arguments: str, cwd: Path = ROOT, code: str = "") -> subprocess.CompletedProcess[str]:
    command = ["-c", f"{code}\nfrom probe.cli.start import main; main()"] if code else ["-m", "probe"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command, "path", *arguments], cwd=cwd, env=environment, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip


def test_the_exit_code_of_a_killed_child_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_try_paths", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    done = forked.run("path", "/")
    assert (done.returncode, done.stderr) == (2, "")
    assert "unknown" in done.stdout


def test_an_empty_path_is_a_usage_error() -> None:
    """A shell makes one of a variable that is not set; it does not mean the current directory."""
    done = forked.run("path", "/", "")
    assert (done.returncode, done.stdout) == (64, "")
    assert "PATH is empty" in done.stderr


@pytest.mark.real
def test_dots_behind_a_symlink_are_the_kernels(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "root")
    (tmp_path / "link").symlink_to("/proc/sys/kernel")
    done = run_path("link/..", "-o", "json", cwd=tmp_path)
    assert msgspec.json.decode(done.stdout)[0]["path"] == "/proc/sys"


@pytest.fixture
def automount(tmp_path: Path) -> Iterator[Path]:
    """A direct autofs mount for which nobody mounts anything: a lookup below it would wait for ever."""
    require(os.geteuid() == 0 and "\tautofs\n" in Path("/proc/filesystems").read_text(), "root and autofs")
    libc = ctypes.CDLL(None, use_errno=True)
    point = tmp_path / "nas"
    point.mkdir()
    receive, send = os.pipe()
    # The kernel wants a process group that exists, and lets lookups of that group through.
    daemon = subprocess.Popen(["sleep", "infinity"], start_new_session=True)
    try:
        options = f"fd={send},pgrp={daemon.pid},minproto=5,maxproto=5,direct".encode()
        mounted = libc.mount(b"nobody", os.fsencode(point), b"autofs", 0, options) == 0
        require(mounted, f"autofs: {os.strerror(ctypes.get_errno())}")
        yield point
    finally:
        os.close(receive)  # catatonic: nobody waits any more
        os.close(send)
        libc.umount2(os.fsencode(point), 2)
        daemon.kill()
        daemon.wait()


@pytest.mark.real
def test_looking_mounts_nothing(automount: Path, tmp_path: Path) -> None:
    """Directly, below it, and through a symlink: each row comes at once and says why it is unknown."""
    (tmp_path / "link").symlink_to(automount / "below")
    asked = [str(automount), f"{automount}/below", f"{tmp_path}/link", f"{automount}/../nas/x"]
    rows = gather_paths(Settings(), asked)
    assert [(row.result, row.kind, row.fstype) for row in rows] == [("unknown", "not-tried", "autofs")] * 4
    assert [row.path for row in rows] == asked


@pytest.mark.real
def test_without_dev_null_a_path_has_its_answer(tmp_path: Path) -> None:
    """In a chroot that nobody gave a /dev."""
    require(os.geteuid() == 0, "root")
    libc = "import ctypes\nc = ctypes.CDLL(None)\nc.unshare(0x20000)\nc.mount(b'', b'/', None, 0x44000, None)"
    hide = f"{libc}\nassert c.mount(b'x', b'/dev', b'tmpfs', 0, None) == 0"
    done = run_path("/proc", code=hide)
    assert (done.returncode, done.stderr) == (1, "")
    assert "refused" in done.stdout


@pytest.mark.real
def test_types_of_files(tmp_path: Path) -> None:
    """Those that a kubelet compares, behind symlinks; none of a path that does not exist."""
    require(os.geteuid() == 0, "root")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{tmp_path}/socket")
        rows = gather_paths(Settings(), [f"{tmp_path}{name}" for name in ("", "/file", "/link", "/socket", "/gone")])
    assert [row.file_type for row in rows] == [stat.S_IFDIR, stat.S_IFREG, stat.S_IFREG, stat.S_IFSOCK, 0]


@pytest.mark.parametrize(
    ("uid", "gid", "usable"),
    [(0, 0, "yes"), (65535, 65535, "yes"), (65536, 0, "partly"), (0, 1000650000, "partly")],
)
def test_owners_that_no_pod_has(uid: int, gid: int, usable: str) -> None:
    """The mount can be idmapped, and the Pod sees nobody's files; that is said, with the IDs."""
    host = FakeHost(places_found={"/srv": Place(path="/srv", mode=0o40770, uid=uid, gid=gid)})
    row = with_owner(host, make_attempt(role="path", path="/srv", usable="yes"))
    assert (row.result, row.usable) == ("supported", usable)
    assert (str(gid) in row.reason) == (usable == "partly")


def test_owners_are_looked_up_in_the_root_of_the_probe_itself() -> None:
    """Without hostPID, the probe's own pid is the number of another process of the node, whose root may be another."""
    host = FakeHost()
    with_owner(host, make_attempt(role="path", path="/srv", usable="yes"))
    assert host.touched == ["/proc/self/root/srv"]


def test_owners_are_not_asked_for_where_a_server_answers_or_nothing_is_proven() -> None:
    """Asking could hang, and of a refused path nothing more has to be said."""
    for row in (make_attempt(role="path", path="/srv", fstype="fuse"), make_refusal(role="path", path="/srv")):
        host = FakeHost()
        assert with_owner(host, row) == row
        assert host.touched == []


def test_the_mount_namespace_of_the_runtime() -> None:
    """That in which paths are bound; not that of a Pod's program, and none where runtimes differ."""
    host = FakeHost()
    host.add_process(7, "/usr/bin/containerd", cgroup="0::/system.slice/containerd.service\n")
    assert runtime_namespace(host) == ""
    host.links["/proc/7/ns/mnt"] = "mnt:[4026533000]"
    assert runtime_namespace(host) == "/proc/7/ns/mnt"
    host.add_process(8, "/usr/bin/containerd", cgroup="0::/kubepods/pod6c1e0b7e-0000/x\n")
    assert runtime_namespace(host) == "/proc/7/ns/mnt"
    host.add_process(9, "/usr/bin/crio", cgroup="0::/system.slice/crio.service\n")
    assert runtime_namespace(host) == ""
