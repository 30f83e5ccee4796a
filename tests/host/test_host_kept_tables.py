"""Mount tables that are read once: whose are the same, and that no change is missed."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.prerequisites import require
from lab.real import kernel
from probe.host import kept_tables
from probe.host.kept_tables import KeptTables

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _root() -> None:
    require(os.geteuid() == 0, "root")


def alone(function: Callable[[], None]) -> None:
    """Run *function* in a process with a mount namespace of its own; what it raises fails the test."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.own_mount_namespace()
            kernel.mount("test", "/mnt", "tmpfs")
            function()
        except BaseException:
            os.write(write_end, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end) as problem:
        assert problem.read() == ""
    os.waitpid(pid, 0)


@contextmanager
def process(prepare: Callable[[], None]) -> Iterator[str]:
    """The mount table of another process that did that first."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.die_with_parent()
            prepare()
            os.write(done, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.read(ready, 1)
    try:
        yield f"/proc/{pid}/mountinfo"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_table_is_read_once() -> None:
    """Until something changes, the very same bytes come back, for any process that sees the same mounts."""

    def look() -> None:
        tables = KeptTables()
        first = tables.read("/proc/self/mountinfo")
        assert first == Path("/proc/self/mountinfo").read_bytes()
        assert tables.read("/proc/self/mountinfo") is first
        with process(lambda: None) as other:
            assert tables.read(other) is first

    alone(look)


@pytest.mark.parametrize("changes", [1, 3])
def test_every_change_is_seen(changes: int) -> None:
    """A mount and an umount, one or several of them, also by another process, make it read again."""

    def look() -> None:
        tables = KeptTables()
        tables.read("/proc/self/mountinfo")
        for number in range(changes):
            os.mkdir(f"/mnt/{number}")
            kernel.mount("change", f"/mnt/{number}", "tmpfs")
        assert tables.read("/proc/self/mountinfo").count(b" - tmpfs change ") == changes
        with process(lambda: kernel.detach("/mnt/0")):
            after = tables.read("/proc/self/mountinfo")
        assert after.count(b" - tmpfs change ") == changes - 1
        assert tables.read("/proc/self/mountinfo") is after

    alone(look)


def test_a_change_while_it_is_read_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mounted between the first bytes and the last is in the next reading at the latest."""
    read_on = kept_tables._read_on

    def slowly(descriptor: int, head: bytes) -> bytes:
        content = read_on(descriptor, head)
        os.makedirs("/mnt/late", exist_ok=True)
        if b"late" not in content:
            kernel.mount("late", "/mnt/late", "tmpfs")
        return content

    def look() -> None:
        monkeypatch.setattr(kept_tables, "_read_on", slowly)
        tables = KeptTables()
        assert b" - tmpfs late " not in tables.read("/proc/self/mountinfo")
        assert b" - tmpfs late " in tables.read("/proc/self/mountinfo")

    alone(look)


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(kernel.own_mount_namespace, id="another namespace"),
        pytest.param(lambda: os.chroot("/mnt"), id="a mount as root"),
        pytest.param(lambda: os.chroot("/tmp"), id="a directory as root"),
    ],
)
def test_whoever_sees_other_mounts_has_another_table(prepare: Callable[[], None]) -> None:
    """A copy of the namespace has other mounts, and a chroot shows only a part of them."""

    def look() -> None:
        tables = KeptTables()
        own = tables.read("/proc/self/mountinfo")
        with process(prepare) as other:
            assert tables.read(other) == Path(other).read_bytes() != own
        assert tables.read("/proc/self/mountinfo") is own

    alone(look)


def test_a_larger_table_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a half of it; and nothing is kept open."""
    monkeypatch.setattr(kept_tables, "MOUNTINFO_LIMIT", 1)
    monkeypatch.setattr(kept_tables, "_PIECE", 64)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ValueError, match="larger than 1 bytes"):
        KeptTables().read("/proc/self/mountinfo")
    assert os.listdir("/proc/self/fd") == before


def test_no_descriptor_stays_behind() -> None:
    """However often a table is read again, one stays open, and none after closing."""

    def look() -> None:
        before = os.listdir("/proc/self/fd")
        tables = KeptTables()
        for number in range(5):
            os.mkdir(f"/mnt/{number}")
            kernel.mount("change", f"/mnt/{number}", "tmpfs")
            tables.read("/proc/self/mountinfo")
        assert len(os.listdir("/proc/self/fd")) == len(before) + 1
        tables.close()
        assert os.listdir("/proc/self/fd") == before

    alone(look)
