"""Looks that the kernel spares: it watches what they would ask for, and whatever happens there is found."""

from __future__ import annotations

import errno
import json
import mmap
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from probe.host.look import look
from probe.watch import asked, looks, states, watched
from probe.watch.inotify import IN_IGNORED, IN_Q_OVERFLOW, inotify_add_watch, parse_events
from probe.watch.kernel_files import Batch, KernelFile
from probe.watch.links import Links
from probe.watch.looks import Looks
from probe.watch.shortcut import Shortcut, Source, find_shortcut
from tests.test_watch_shortcut import CHANGES, TABLE, Moved, close_all, sources_of, tick, tree, types_here

__all__ = ["close_all", "tree"]  # fixtures


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not root cannot make an instance of another user; and all directories here are new."""
    monkeypatch.setattr(watched, "QUIET", -(10**18))
    if os.geteuid():
        monkeypatch.setattr(watched, "NOBODY", os.geteuid())


@pytest.fixture(params=["times", "entries"])
def kept(request: pytest.FixtureRequest, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tree; its directories are compared by their times, or by their entries as those that just changed."""
    if request.param == "entries":
        monkeypatch.setattr(asked, "SETTLED", 10**12)
    return tree


def watching(sources: list[Source], types: dict[str, str] | None = None) -> Shortcut:
    """A short cut that asks for nothing."""
    found = find_shortcut(sources, types or types_here())
    assert found.difference() == found.difference(full=False) == ""
    assert asked_for(found) == []
    tick()
    return found


def asked_for(found: Shortcut) -> list[str]:
    """Paths that each look asks for, but for directories above, where others make files."""
    paths = [path for _, paths, _ in found._asked._states.values() for path in paths]
    return [path for path in paths if "/test_" in path or path.startswith("/dev/")]


def _write_by_another_name(tree: Path) -> None:
    with open(tree / "other/alias", "a") as file:
        file.write("more")


def _write_by_memory(tree: Path) -> None:
    with open(tree / "etc/config", "r+b") as file:
        with mmap.mmap(file.fileno(), 0) as memory:
            os.close(os.dup(file.fileno()))
            memory[:1] = b"T"


def _move_away(tree: Path) -> None:
    """Another directory takes the place."""
    (tree / "etc/drop-ins").rename(tree / "drop-ins")
    (tree / "etc/drop-ins").mkdir()


def _move_there(tree: Path) -> None:
    """A file that nobody knows."""
    (tree / "fresh").touch()
    (tree / "fresh").rename(tree / "etc/absent")


def _make_again(tree: Path) -> None:
    (tree / "etc/drop-ins").rmdir()
    (tree / "etc/drop-ins").mkdir()


MORE: dict[str, Callable[[Path], object]] = {
    "appended": lambda tree: (tree / "etc/config").open("a").write("x"),
    "truncated": lambda tree: os.truncate(tree / "etc/config", 1),
    "mode": lambda tree: (tree / "etc/config").chmod(0o600),
    "moved there": _move_there,
    "symlink removed": lambda tree: (tree / "usr/bin/runc").unlink(),
    "symlink moved away": lambda tree: (tree / "usr/bin/runc").rename(tree / "other/link"),
    "mode of a program by another name": lambda tree: (tree / "other/alias of a tool").chmod(0o700),
    "mode by another name": lambda tree: (tree / "other/alias").chmod(0o600),
    "times": lambda tree: os.utime(tree / "etc/config", (1, 1)),
    "extended attribute": lambda tree: os.setxattr(tree / "etc/config", "user.x", b"1"),
    "written by another name": _write_by_another_name,
    "written by memory": _write_by_memory,
    "another name": lambda tree: (tree / "other/alias 2").hardlink_to(tree / "etc/config"),
    "directory moved away": _move_away,
    "directory made again": _make_again,
}


def make_aliases(tree: Path) -> list[Source]:
    """Sources of the tree, in which files have other names."""
    (tree / "tools").mkdir()
    (tree / "tools/tool").touch()
    (tree / "other/alias of a tool").hardlink_to(tree / "tools/tool")
    (tree / "other/alias").hardlink_to(tree / "etc/config")
    return [*sources_of(tree), ("place", f"{tree}/tools/tool", look("place", f"{tree}/tools/tool"))]


@pytest.mark.parametrize("change", [*CHANGES.values(), *MORE.values()], ids=[*CHANGES, *MORE])
def test_whatever_happens_is_found(kept: Path, change: Callable[[Path], object]) -> None:
    """By the next look, though it asks for nothing before the kernel says so; a full look finds the same."""
    found = watching(make_aliases(kept))
    change(kept)
    assert found.difference(full=False)
    assert found.difference()


def test_what_is_written_by_memory_is_found_by_a_full_look(tree: Path) -> None:
    """Before the writer closes the file, the kernel says nothing."""
    found = watching(sources_of(tree))
    with open(tree / "etc/config", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[:1] = b"T"
        assert found.difference() == f"{tree}/etc/config"


def test_without_free_descriptors_each_look_is_full(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until there are some: nothing but an open link tells that a process ended."""
    monkeypatch.setattr(Links, "hold", lambda _links: _refused(0))
    found = Looks(json.dumps({"sources": [("mounts", TABLE, look("mounts", TABLE)), *sources_of(tree)]}).encode())
    assert [found.changed(), found.changed(), found.changed(full=False)] == [""] * 3
    assert found._shortcut
    assert not found._shortcut.is_held
    (tree / "etc/config").write_text("two.")
    assert found.changed(full=False) == f"file {tree}/etc/config"


@pytest.mark.skipif(os.geteuid() != 0, reason="root gives files away")
def test_another_owner_is_found(tree: Path) -> None:
    """A configuration that another user may change is another one."""
    found = watching(sources_of(tree))
    os.chown(tree / "etc/config", 1, -1)
    assert found.difference(full=False) == f"{tree}/etc/config"


def test_what_happens_to_others_is_asked_for_from_then_on(tree: Path) -> None:
    """A directory where files come and go costs a look one system call, as without inotify; and changes are found."""
    found = watching(sources_of(tree))
    for number in range(3):
        (tree / f"etc/other file {number}").touch()
        assert found.difference(full=False) == ""
    assert asked_for(found) == [f"{tree}/etc"]
    (tree / "etc/absent").touch()
    assert found.difference(full=False) == f"{tree}/etc"


def test_a_watch_ends_with_its_first_event(tree: Path) -> None:
    """However often a file is written, no queue gets long, and no writer pays for it."""
    found = watching(sources_of(tree))
    for _ in range(100):
        with open(tree / "etc/config", "a") as file:
            file.write("x")
    assert found._watched
    events = parse_events(os.read(found._watched._descriptor, 1 << 16))
    assert [mask == IN_IGNORED for _, mask in events] == [False, True]


@pytest.mark.parametrize("order", [1, -1])
def test_a_directory_is_watched_for_itself_and_for_its_entries(tree: Path, order: int) -> None:
    """As an entry of another one, and as what has entries; whichever comes first."""
    paths = [f"{tree}/etc/absent", f"{tree}/etc"]
    kept = [(states.entry_of, path, states.entry_of(path)) for path in paths[::order]]
    found = watched.Watched(kept, lambda _device: "tmpfs", frozenset(("tmpfs",)))
    assert found.others == found.happened() == []
    (tree / "etc/absent").touch()
    assert kept[paths[::order].index(paths[0])] in found.happened()


def test_a_queue_that_overflowed_makes_a_look_ask_for_everything(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what happened."""
    found = watching(sources_of(tree))
    (tree / "other file").touch()
    monkeypatch.setattr(watched, "read_events", lambda file: [(-1, IN_Q_OVERFLOW)] if os.read(file, 1 << 16) else [])
    assert found.difference(full=False) == ""
    assert {f"{tree}/etc/config", f"{tree}/etc", f"{tree}/usr/sbin/runc"} <= {*map(os.path.realpath, asked_for(found))}
    (tree / "etc/config").write_text("two.")
    assert found.difference(full=False) == f"{tree}/etc/config"


def test_what_happens_before_a_file_is_watched_is_found(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first look and the watch, as the next look would rely on that."""

    def add(*arguments: object) -> int:
        (tree / "etc/config").write_text("two.")
        return -1 if arguments[1] == f"{tree}/etc/config" else original(*arguments)  # type: ignore[arg-type]

    original = inotify_add_watch
    monkeypatch.setattr(watched, "inotify_add_watch", add)
    assert find_shortcut(sources_of(tree), types_here()).difference() == f"{tree}/etc/config"


def test_a_dead_instance_is_an_error(tree: Path) -> None:
    """And an error is a doubt."""
    found = watching(sources_of(tree))
    assert found._watched
    os.close(found._watched._descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        found.difference(full=False)


def test_a_short_cut_leaves_no_descriptor(tree: Path) -> None:
    """Each probe, and each mount, makes another one."""
    sources, types = sources_of(tree), types_here()
    before = os.listdir("/proc/self/fd")
    watching(sources, types).close()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "proc", "sysfs", ""])
def test_nothing_is_watched_that_others_may_change(tree: Path, kind: str) -> None:
    """A server, or the kernel itself, tells this kernel's inotify nothing."""
    found = find_shortcut(sources_of(tree), dict.fromkeys(types_here(), kind))
    assert found.difference() == ""
    assert found._watched
    assert not found._watched._states
    (tree / "etc/config").write_text("two.")
    assert found.difference(full=False) == f"{tree}/etc/config"


@pytest.mark.parametrize(("quiet", "mode"), [(10**18, 0o755), (-(10**18), 0o1777)])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_directory_in_which_others_make_files_is_asked(
    tree: Path, change: Callable[[Path], object], quiet: int, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may remember millions of names there, and would block others to mark each; a file is watched."""
    monkeypatch.setattr(watched, "QUIET", quiet)
    directories = [tree, *filter(Path.is_dir, tree.rglob("*"))]
    for each in directories:
        each.chmod(mode)
    found = find_shortcut(sources_of(tree), types_here())
    assert found.difference() == found.difference(full=False) == ""
    asked_of = {os.path.realpath(path) for path in asked_for(found)}
    assert {f"{tree}/etc", f"{tree}/usr/sbin"} <= asked_of <= set(map(str, directories))
    tick()
    change(tree)
    assert found.difference(full=False)


REFUSALS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "instance": lambda patch: patch.setattr(watched, "inotify_init1", lambda _flags: -1),
    "watch": lambda patch: patch.setattr(watched, "inotify_add_watch", lambda *_arguments: -1),
    "user": lambda patch: patch.setattr(os, "seteuid", _refused),
}


def _refused(_user: int) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("refused", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("change", [CHANGES["written"], CHANGES["appeared"], CHANGES["directory moved"], MORE["mode"]])
def test_without_inotify_a_look_asks(
    tree: Path,
    change: Callable[[Path], object],
    refused: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For all that it would ask for else."""
    refused(monkeypatch)
    found = find_shortcut(make_aliases(tree), types_here())
    assert found.difference() == found.difference(full=False) == ""
    tick()
    change(tree)
    assert found.difference(full=False)


def looks_at(sources: list[Source]) -> Looks:
    """Looks of which the next one relies on the kernel."""
    found = Looks(json.dumps({"sources": [("mounts", TABLE, look("mounts", TABLE)), *sources]}).encode())
    assert [found.changed(), found.changed(), found.changed(full=False)] == [""] * 3
    assert found._shortcut
    assert found._shortcut.is_held
    return found


def test_an_event_that_means_nothing_is_no_change(tree: Path) -> None:
    """A full look decides; the next one relies on the kernel again."""
    found = looks_at(sources_of(tree))
    (tree / "etc/other file").touch()
    shortcut = found._shortcut
    assert [found.changed(full=False), found.changed(full=False)] == ["", ""]
    assert found._shortcut is shortcut
    (tree / "etc/config").write_text("two.")
    assert found.changed(full=False) == f"file {tree}/etc/config"


def test_a_look_that_is_not_full_leaves_out_what_hardly_ever_changes(tree: Path) -> None:
    """Limits of a process and files of /sys; a full look finds them, and only after that a report is confirmed."""
    with running("sleep", "100") as process:
        found = looks_at([*sources_of(tree), *sources_of_process(process.pid)])
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (10, 10))
        assert found.changed(full=False) == ""
        assert found.changed() == f"content /proc/{process.pid}/limits"


@contextmanager
def running(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process for as long as the block lasts."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def sources_of_process(pid: int) -> list[Source]:
    """As a probe names those of a daemon."""
    names = [("link", "ns/mnt"), ("link", "exe"), ("file", "exe"), ("link", "cwd"), ("start", "stat")]
    names += [("status", "status"), ("content", "limits")]
    return [(kind, f"/proc/{pid}/{name}", look(kind, f"/proc/{pid}/{name}")) for kind, name in names]


def test_a_process_that_ends_is_found(tree: Path) -> None:
    """By a link, as its status is asked for only by a full look; and not by its number, which another may have."""
    with running("sleep", "100") as process:
        found = looks_at([*sources_of(tree), *sources_of_process(process.pid)])
        process.kill()
    assert found._shortcut
    assert found._shortcut._links.held_difference()
    assert found.changed(full=False)


@pytest.mark.parametrize("kinds", [("link",), ("file",), ("link", "file")])
def test_another_program_of_a_process_is_found(tree: Path, kinds: tuple[str, ...]) -> None:
    """It keeps its number, its start time and its namespaces."""
    shell = ["sh", "-c", "read line; exec sleep 100"]
    with running(*shell, stdin=subprocess.PIPE, text=True) as process:
        sources = sources_of_process(process.pid)
        found = looks_at([source for source in sources if not source[1].endswith("/exe") or source[0] in kinds])
        before = os.readlink(f"/proc/{process.pid}/exe")
        print(file=process.stdin, flush=True)
        while os.readlink(f"/proc/{process.pid}/exe") == before:
            pass
        assert found.changed(full=False)


@pytest.mark.parametrize("change", ["write", "replace"])
def test_a_program_that_is_executed_is_watched(tree: Path, change: str) -> None:
    """Nobody names its path: what tells of it is its process."""
    program = tree / "usr/bin/daemon"
    shutil.copy2("/bin/sleep", program)
    with running(str(program), "100") as process:
        found = looks_at(sources_of_process(process.pid))
        if change == "replace":
            program.unlink()
        else:
            program.chmod(0o700)
        assert found.changed(full=False)


RARE = ("/proc/1/cgroup", "/proc/9/environ", "/proc/cmdline", "/proc/filesystems", "/proc/sys/kernel/osrelease")
OFTEN = ("/proc/sys/user/max_user_namespaces", "/proc/9/attr/current", "/sys/fs/selinux/enforce", "/etc/config")


@pytest.mark.parametrize("path", [*RARE, "/sys/fs/cgroup/kubepods.slice/pids.max", *OFTEN])
def test_sysctls_and_labels_are_asked_for_by_each_look(path: str) -> None:
    """And what nobody knows to change hardly ever."""
    assert looks._is_rare(KernelFile("content", path, "1"), set()) == (path not in OFTEN)


def test_a_start_time_is_asked_for_where_no_link_tells_of_the_end() -> None:
    """As of a process whose namespaces could not be read."""
    file = KernelFile("start", "/proc/9/stat", "1")
    assert [looks._is_rare(file, linked) for linked in ({"/proc/9"}, set[str]())] == [True, False]


@pytest.mark.parametrize("before", ["150\n", "150"])
@pytest.mark.parametrize("after", ["1500\n", "15000\n", "0\n", "", "1\n", "15\n0\n", "15" * 3000])
def test_files_that_are_read_in_one_go(tmp_path: Path, before: str, after: str) -> None:
    """Any change is found, whether the new content is longer, shorter, nothing, or more than a page."""
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, content in zip(paths, ("1\n", before, "x" * 5000), strict=True):
        path.write_text(content)
    batch = Batch(KernelFile("content", str(path), look("content", str(path))) for path in paths)
    assert [batch.changed() for _ in range(3)] == [False] * 3
    paths[1].write_text(after)
    assert [batch.changed() for _ in range(2)] == [True] * 2
    paths[1].write_text(before)
    assert not batch.changed()
    paths[2].write_text("x" * 4999 + "y")
    assert batch.changed()


def test_each_look_reads_files_that_stay_open(tree: Path, tmp_path: Path) -> None:
    """Here one in place of a sysctl."""
    path = tmp_path / "sysctl"
    path.write_text("1\n")
    found = looks_at([*sources_of(tree), ("content", str(path), "1\n")])
    path.write_text("0\n")
    assert found.changed(full=False) == f"content {path}"


def test_a_mount_ends_the_watches(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hide any directory without an event; a look asks for everything, and then the kernel watches again."""
    found = looks_at(sources_of(tree))
    first = found._shortcut
    for table in found._tables.values():
        monkeypatch.setattr(table, "_poll", Moved())
    assert found.changed(full=False) == ""
    assert found._shortcut is not first


def test_what_is_written_to_a_device_is_no_event(tree: Path) -> None:
    """All the time somebody writes to one, and its file stays as it is."""
    found = watching([*sources_of(tree), ("file", "/dev/null", look("file", "/dev/null"))])
    with open("/dev/null", "w") as file:
        file.write("x")
    assert found.difference(full=False) == ""
    assert asked_for(found) == []


def test_a_file_that_nobody_changed_is_read_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a call of its own."""
    path = tmp_path / "file"
    path.write_text("1\n")
    batch = Batch([KernelFile("content", str(path), "1\n")])
    assert not batch.changed()
    monkeypatch.setattr(KernelFile, "changed", lambda _file: pytest.fail("a file by itself"))
    assert not batch.changed()


def test_a_file_that_dies_is_a_change(tmp_path: Path) -> None:
    """Among others that are read with it."""
    path = tmp_path / "file"
    path.write_text("1\n")
    file = KernelFile("content", str(path), "1\n")
    batch = Batch([file])
    assert [batch.changed(), batch.changed()] == [False, False]
    os.close(file.descriptor)
    assert batch.changed()
