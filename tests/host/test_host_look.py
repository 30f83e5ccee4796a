"""A look differs when what it looks at does, and says so when it cannot tell."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from probe.host import recording
from probe.host.abstract import Host
from probe.host.look import CHURN, UNSEEN, digest, look, meaning, significant
from probe.host.recording import RecordingHost


def write(path: Path) -> None:
    path.write_text("other")


def replace(path: Path) -> None:
    """The same content, size and time of modification, in another file."""
    seen = path.stat()
    new = path.with_name("new")
    new.write_bytes(path.read_bytes())
    os.utime(new, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    new.rename(path)


def touch_back(path: Path) -> None:
    """Written in place, and its time of modification set back: the time of change tells."""
    seen = path.stat()
    path.write_text("one!")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


@pytest.mark.parametrize("change", [write, replace, touch_back, Path.unlink, lambda path: path.chmod(0o600)])
def test_a_file_that_changes_looks_different(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Whatever is done to it; and what is not touched looks the same."""
    path = tmp_path / "file"
    path.write_text("one.")
    before = look("file", str(path))
    assert look("file", str(path)) == before
    change(path)
    assert look("file", str(path)) != before


class Hung(RecordingHost):
    """A node on which each file waits for its server."""

    asked: tuple[str, ...] = ()

    def _touch(self, path: str, operation: str, *arguments: object, **bounds: object) -> bytes:
        self.asked = (*self.asked, operation)
        self._stuck |= {path}
        raise TimeoutError


def test_of_many_files_that_hang_one_is_waited_for() -> None:
    """A look at none of them shows a change."""
    host = Hung({})
    found = host.places(1, ("/dev/a", "/dev/b", "/dev/c"))
    assert {reading.kind for reading in found.values()} == {"timed-out"}
    assert host.asked == ("looks", "looks", "places")
    assert [seen for kind, _, seen in host.sources() if kind == "place"] == [UNSEEN] * 3


def test_the_look_at_a_mount_table_is_of_the_table_that_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that comes while it is read is in both or in neither; what cannot be read shows no change."""
    host, path = RecordingHost({}), f"/proc/{os.getpid()}/mountinfo"
    table = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw"
    monkeypatch.setattr(
        host._tables, "read", lambda path: table if "/999/" not in path else Path("/no/such").read_bytes()
    )
    try:
        assert host.mountinfo(os.getpid()).value == table
        assert host.mountinfo("999").value is None
        assert host._looks["mounts", path] == meaning("mounts", table)
        assert host._looks["mounts", "/proc/999/mountinfo"] == UNSEEN
    finally:
        host.close()


@pytest.mark.parametrize("change", [write, replace, touch_back, lambda path: path.chmod(0o644)])
def test_a_program_that_changes_is_another_place(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Whatever is done to it; of a file that nobody executes the content does not count."""
    path = tmp_path / "program"
    path.write_text("one.")
    path.chmod(0o755)
    before = look("place", str(path))
    assert look("place", str(path)) == before
    change(path)
    assert look("place", str(path)) != before
    path.chmod(0o644)
    before = look("place", str(path))
    write(path)
    assert look("place", str(path)) == before


def test_entries_of_a_place_come_and_go(tmp_path: Path) -> None:
    """They say nothing of the place itself, in which each Pod makes some; a new attribute does, as of chattr(1)."""
    before = look("place", str(tmp_path))
    write(tmp_path / "entry")
    assert look("place", str(tmp_path)) == before
    (tmp_path / "entry").unlink()
    assert look("place", str(tmp_path)) == before
    os.utime(tmp_path, ns=(0, 0))
    assert look("place", str(tmp_path)) != before


class Statvfs(SimpleNamespace):
    """A file system with room for all, in the fields of statvfs(3) that a look asks for."""

    f_flag, f_frsize, f_blocks, f_bfree, f_files, f_ffree = 0, 4096, 10**6, 10**6, 10**6, 10**6


@pytest.mark.parametrize(
    ("left", "same"),
    [
        ({"f_bfree": 10**5, "f_ffree": 10**5}, True),
        ({"f_blocks": 0, "f_bfree": 0, "f_files": 0, "f_ffree": 0}, True),
        ({"f_bfree": 0}, False),
        ({"f_ffree": 0}, False),
        ({"f_flag": os.ST_RDONLY}, False),
    ],
)
def test_a_full_file_system_looks_different(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: dict[str, int], same: bool
) -> None:
    """Also one that an error made read-only; one that fills up does not, nor one that counts nothing."""
    monkeypatch.setattr(os, "statvfs", lambda _path: Statvfs())
    before = look("room", str(tmp_path))
    monkeypatch.setattr(os, "statvfs", lambda _path: Statvfs(**left))
    assert (look("room", str(tmp_path)) == before) == same


def test_the_room_of_each_file_system_is_looked_at_once(tmp_path: Path) -> None:
    """However often it is asked for; /proc has none."""
    host, root = RecordingHost({}), f"/proc/{os.getpid()}/root"
    (tmp_path / "directory").mkdir()
    try:
        for _ in range(2):
            host.places(os.getpid(), [f"{tmp_path}/absent", str(tmp_path), f"{tmp_path}/directory", "/proc"])
    finally:
        host.close()
    assert [path for kind, path in host._looks if kind == "room"] == [f"{root}{tmp_path}"]


def started_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed_ago: float) -> RecordingHost:
    """A host that recorded a script and its interpreter, which changed so many seconds before it was read."""
    host = RecordingHost({})
    (tmp_path / "interpreter").write_text("#!/bin/sh")
    (tmp_path / "interpreter").chmod(0o755)
    (tmp_path / "script").write_text(f"#!{tmp_path}/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    monkeypatch.setattr(recording, "time", Later(changed_ago))
    try:
        host.places(os.getpid(), [f"{tmp_path}/script"])
    finally:
        host.close()
    return host


class Later:
    """The module `time`, so many seconds later."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time_ns(self) -> int:
        return time.time_ns() + round(self._seconds * 1e9)


def test_what_starts_a_program_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its content; it is known only after it was read, so of what changed right before nobody can tell."""
    path = f"/proc/{os.getpid()}/root{tmp_path}/interpreter"
    assert started_by(tmp_path, monkeypatch, 3600)._looks["file", path] == look("file", path)
    assert started_by(tmp_path, monkeypatch, 0)._looks["file", path] == UNSEEN


def test_what_is_not_read_may_count(tmp_path: Path) -> None:
    """As the socket of a runtime that another process asks."""
    host, path = RecordingHost({}), f"{tmp_path}/socket"
    try:
        host.note(path)
    finally:
        host.close()
    assert ("place", path, "errno 2") in host.sources()


def test_places_look_as_each_of_them_does(tmp_path: Path) -> None:
    """One request for all says of each what a look at it alone says."""
    host, names = RecordingHost({}), ("there", "absent", "link")
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    try:
        host.places(os.getpid(), [f"{tmp_path}/{name}" for name in names])
        for name in names:
            path = f"/proc/{os.getpid()}/root{tmp_path}/{name}"
            assert host._looks["place", path] == look("place", path)
    finally:
        host.close()


def test_a_file_that_appears_looks_different(tmp_path: Path) -> None:
    """That there is none is something that can be seen."""
    path = str(tmp_path / "file")
    assert look("file", path) == "errno 2"
    write(Path(path))
    assert look("file", path) != "errno 2"


def test_a_directory_looks_different_with_another_entry(tmp_path: Path) -> None:
    """Drop-in files appear and vanish."""
    before = look("file", str(tmp_path))
    write(tmp_path / "10-new.conf")
    assert look("file", str(tmp_path)) != before


def test_a_link_looks_different_when_it_leads_elsewhere(tmp_path: Path) -> None:
    """Also in the middle of a path."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").mkdir()
    link = tmp_path / "link"
    link.symlink_to("a")
    before = [look("link", str(link)), look("place", str(link / "x"))]
    link.unlink()
    link.symlink_to("b")
    assert not set(before) & {look("link", str(link)), look("place", str(link / "x"))}


def test_a_process_is_known_by_its_start() -> None:
    """One that ended has none."""
    with subprocess.Popen(["sleep", "100"]) as process:
        path = f"/proc/{process.pid}/stat"
        before = look("start", path)
        assert before.isdecimal()
        assert look("start", path) == before
        assert look("status", f"/proc/{process.pid}/status") == look("status", f"/proc/{process.pid}/status")
        process.kill()
    assert look("start", path).startswith("errno")


def test_a_process_that_is_stopped_looks_different() -> None:
    """It answers nobody; once it goes on, it looks as before."""
    with subprocess.Popen(["sleep", "100"]) as process:
        path, seen = f"/proc/{process.pid}/status", []
        for number, event in ((signal.SIGCONT, 0), (signal.SIGSTOP, os.WUNTRACED), (signal.SIGCONT, os.WCONTINUED)):
            process.send_signal(number)
            if event:
                os.waitpid(process.pid, event)
            seen.append(look("status", path))
        process.kill()
    assert seen[0] == seen[2] != seen[1]


@pytest.mark.parametrize("kind", ["content", "start", "no such kind"])
def test_what_cannot_be_understood_is_unseen(tmp_path: Path, kind: str) -> None:
    """Too large, of another form, of no known kind."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * (1 << 21))
    assert look(kind, str(path)) == UNSEEN


def test_long_content_has_a_short_digest() -> None:
    """Of its own length."""
    assert digest(b"1\n") == "1\n"
    assert digest(b"x" * 200) != digest(b"x" * 199 + b"y")
    assert len(digest(b"x" * 100_000)) < 100


ROOT = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        (b"24 22 0:9 / /var/lib/containerd rw - xfs /dev/sdb rw", True),
        (b"24 22 0:9 / /var/lib/kubelet/pods rw - xfs /dev/sdb rw", True),
        (b"24 22 0:9 / /proc/sys rw - tmpfs tmpfs rw", True),
        (b"24 22 0:9 / /var/lib/kubelet/pods/0123456789abcdef0123456789abcdef/volumes/v rw - tmpfs t rw", False),
        (b"24 22 0:4 net:[1] /run/netns/cni-1 rw - nsfs nsfs rw", False),
        (b"24 22 0:9 / /run/user/1000 rw - tmpfs t rw", False),
        (b"24 22 0:9 / /var/lib/containers/storage/overlay/" + b"0" * 64 + b"/merged rw - overlay o rw", False),
        (b"24 22 0:9 / /var/lib/kubelet/plugins/kubernetes.io/csi/x/1/globalmount rw - ceph t rw", True),
    ],
)
def test_what_counts_in_a_mount_table(line: bytes, counts: bool) -> None:
    """All but what comes and goes with Pods and logins; of that, a type of file system that is new."""
    assert (significant(ROOT + b"\n" + line + b"\n") != significant(ROOT + b"\n")) == counts


def test_numbers_of_mounts_and_peer_groups_do_not_count() -> None:
    """They differ after each mount that was made again."""
    again = ROOT.replace(b"22 1 ", b"99 98 ").replace(b"shared:1", b"shared:77")
    assert significant(again) == significant(ROOT)
    assert significant(ROOT.replace(b"shared:1 ", b"")) != significant(ROOT)


def test_nothing_else_is_taken_for_a_pods() -> None:
    """A name has to be an identifier, in full."""
    for path in ("/var/lib/kubelet/pods", "/srv/pods/web", "/data/0123abcd", f"/x/{'0' * 65}", "/home/run/user/1"):
        assert not CHURN.search(path), path


def test_whatever_is_read_of_a_host_is_recorded() -> None:
    """Each way to read something is one that `watch` knows of; the others are made of those, or of no file."""
    ways = {name for name in vars(Host) if not name.startswith("_") and callable(getattr(Host, name))}
    derived = {"close", "init_hostname", "read_text", "process_status", "environment", "processes", "stuck_helpers"}
    assert ways - derived <= set(vars(RecordingHost))
