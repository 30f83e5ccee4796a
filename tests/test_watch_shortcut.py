"""The short cut of a look: whatever an exact look would find makes it fail, and without a change it holds."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from probe.host.look import look
from probe.watch import asked, states, watched
from probe.watch import looks as module
from probe.watch.looks import Looks
from probe.watch.shortcut import Shortcut, Source, find_shortcut

TABLE = "/proc/self/mountinfo"
COARSE = 5  # CLOCK_REALTIME_COARSE of clock_gettime(2), which Python does not name


def types_here() -> dict[str, str]:
    looks = Looks(json.dumps({"sources": [("mounts", TABLE, look("mounts", TABLE))]}).encode())
    looks.changed()
    return looks._tables[looks._namespace].types


@pytest.fixture(autouse=True)
def close_all() -> Iterator[None]:
    """A user has few inotify instances, and a test that finds none left would prove nothing."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    for file in set(os.listdir("/proc/self/fd")) - before:
        with contextlib.suppress(OSError):
            os.close(int(file))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories, a program that a symlink leads to, and a configuration; all of them old enough for a short cut."""
    monkeypatch.setattr(asked, "SETTLED", -(10**12))
    for directory in ("usr/sbin", "usr/bin", "etc/drop-ins", "other"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "sbin").symlink_to("usr/sbin")
    for program in ("runc", "shim"):
        (tmp_path / "usr/sbin" / program).write_text("program")
        (tmp_path / "usr/sbin" / program).chmod(0o755)
    (tmp_path / "usr/bin/runc").symlink_to("../sbin/runc")
    (tmp_path / "etc/config").write_text("one.")
    return tmp_path


def sources_of(tree: Path) -> list[Source]:
    """Sources as a probe names them: files, places through symlinks, symlinks, and what is absent."""
    named = [
        *(("file", name) for name in ("etc/config", "etc/drop-ins", "usr/sbin/runc", "etc/absent", "run/absent/too")),
        *(("place", name) for name in ("sbin/runc", "sbin/shim", "usr/bin/runc", "usr/sbin", "other", "opt/runc")),
        ("link", "usr/bin/runc"),
    ]
    paths = [(kind, f"{tree}/{name}") for kind, name in named]
    paths.append(("place", f"/proc/{os.getpid()}/root{tree}/usr/bin/runc"))
    return [(kind, path, look(kind, path)) for kind, path in paths]


def shortcut_of(sources: list[Source]) -> Shortcut:
    return find_shortcut(sources, types_here())


def test_without_a_change_it_holds_and_looks_at_no_path_of_its_own(tree: Path) -> None:
    """Also when it is asked again; all sources of a local file system are covered by states."""
    found = shortcut_of(sources_of(tree))
    assert not found.difference()
    assert not found.difference()
    assert found._others == ()


def tick() -> None:
    """Return when the clock of st_ctime has ticked thrice; in `watch`, a directory's time counts only after a second.

    tmpfs gives a directory the time of the entry that was removed, which may be the one that it had.
    """
    for _ in range(3):
        now = time.clock_gettime_ns(COARSE)
        while time.clock_gettime_ns(COARSE) == now:
            pass


def _replace(path: Path) -> None:
    """The same content, size and time of modification, in another file."""
    seen = path.stat()
    new = path.with_name("new")
    new.write_bytes(path.read_bytes())
    os.utime(new, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    new.rename(path)


def _write(path: Path) -> None:
    """Other content of the same size in the same file, with the same time of modification."""
    seen = path.stat()
    path.write_text("PROGRAM")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _change_symlink(tree: Path) -> None:
    (tree / "sbin").unlink()
    (tree / "sbin").symlink_to("other")


def _move_directory(tree: Path) -> None:
    """The same files by the same paths, which resolve to others: a look at a place sees that."""
    (tree / "usr/sbin").rename(tree / "other/sbin")
    (tree / "usr/sbin").symlink_to("../other/sbin")


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda tree: (tree / "etc/config").write_text("two."),
    "replaced": lambda tree: _replace(tree / "etc/config"),
    "removed": lambda tree: (tree / "etc/config").unlink(),
    "drop-in": lambda tree: (tree / "etc/drop-ins/10.conf").touch(),
    "program replaced": lambda tree: _replace(tree / "usr/sbin/runc"),
    "program not executable": lambda tree: (tree / "usr/sbin/runc").chmod(0o600),
    "program written to": lambda tree: (tree / "usr/sbin/shim").write_text("another"),
    "program written to, times as before": lambda tree: _write(tree / "usr/sbin/shim"),
    "attributes of a place": lambda tree: (tree / "other").chmod((tree / "other").stat().st_mode),
    "directory not searchable": lambda tree: (tree / "usr/sbin").chmod(0o700),
    "place not searchable": lambda tree: (tree / "other").chmod(0o700),
    "appeared": lambda tree: _make(tree / "etc/absent"),
    "appeared with its directories": lambda tree: _make(tree / "run/absent/too"),
    "symlink elsewhere": _change_symlink,
    "symlink appeared": lambda tree: (tree / "opt").symlink_to("usr/sbin"),
    "directory moved": _move_directory,
}


def descriptors_of(found: Shortcut) -> list[int]:
    """Those that it asks in place of paths."""
    return [place for places, _, _ in found._asked._states.values() for place in places if isinstance(place, int)]


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that gives no inotify instance."""
    monkeypatch.setattr(watched, "inotify_init1", lambda _flags: -1)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_that_an_exact_look_finds_ends_it(tree: Path, change: Callable[[Path], object]) -> None:
    """Whatever it is; the exact look afterwards names it."""
    sources = sources_of(tree)
    found = shortcut_of(sources)
    tick()
    change(tree)
    assert any(look(kind, path) != seen for kind, path, seen in sources)
    assert found.difference()


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_descriptors_tell_of_the_same_changes_as_paths(
    tree: Path, change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are asked where the kernel watches nothing."""
    monkeypatch.setattr(states, "_LASTING", (str(tree),))
    found = shortcut_of(sources_of(tree))
    assert not found.difference()
    assert descriptors_of(found)
    tick()
    change(tree)
    assert found.difference(full=False)
    assert found.difference()


@pytest.mark.usefixtures("unwatched")
def test_no_descriptor_keeps_another_mount_busy(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could unmount it; and a path in /proc may lead elsewhere, so it stays one."""
    monkeypatch.setattr(states, "_LASTING", ("/proc", "/absent"))
    found = shortcut_of([*sources_of(tree), ("file", "/proc/self/exe", look("file", "/proc/self/exe"))])
    assert [found.difference() for _ in range(2)] == ["", ""]
    assert descriptors_of(found) == []


@pytest.mark.usefixtures("unwatched")
def test_descriptors_are_closed_with_the_short_cut(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is removed would else take room until the next probe."""
    monkeypatch.setattr(states, "_LASTING", (str(tree),))
    looks = Looks(json.dumps({"sources": [("mounts", TABLE, look("mounts", TABLE)), *sources_of(tree)]}).encode())
    assert looks.changed() == ""
    before = len(os.listdir("/proc/self/fd"))
    assert looks.changed() == ""
    assert len(os.listdir("/proc/self/fd")) > before
    (tree / "usr/sbin/runc").unlink()
    assert looks.changed()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("unwatched")
def test_without_free_descriptors_it_asks_paths(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds the same."""
    monkeypatch.setattr(states, "_LASTING", (str(tree),))
    found = shortcut_of(sources_of(tree))
    with monkeypatch.context() as patched:
        patched.setattr(states.Descriptors, "_opened", fail)
        assert not found.difference()
    assert not found.difference()
    assert descriptors_of(found) == []
    (tree / "usr/sbin/runc").unlink()
    assert found.difference()


def fail(*_: object) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_other_entries_of_a_directory_come_and_go(tree: Path) -> None:
    """That ends nothing, however often; what happens to an entry that a path names still does."""
    found = find_shortcut(sources_of(tree), types_here())
    for number in range(3):
        for path in (tree, tree / "usr/sbin", tree / "usr/bin", tree / "etc", tree / "other"):
            Path(path, f"other file {number}").touch()
        assert not found.difference()
    (tree / "etc/absent").touch()
    assert found.difference() == f"{tree}/etc"


@pytest.mark.parametrize("target", ["config/through-a-file", "n" * 300], ids=["file", "long"])
def test_a_symlink_that_leads_nowhere_blinds_no_look(tree: Path, target: str) -> None:
    """Neither through a file as if it were a directory nor to a name that is too long."""
    (tree / "etc/odd").symlink_to(target)
    sources = [("mounts", TABLE, look("mounts", TABLE)), *sources_of(tree)]
    sources += [(kind, f"{tree}/etc/odd", look(kind, f"{tree}/etc/odd")) for kind in ("link", "place")]
    looks = Looks(json.dumps({"sources": sources}).encode())
    assert [looks.changed() for _ in range(3)] == [""] * 3
    (tree / "etc/odd").unlink()
    (tree / "etc/odd").symlink_to("config")
    assert looks.changed().endswith("/etc/odd")


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_after_other_entries_changed_ends_it(
    tree: Path, change: Callable[[Path], object], settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change of above, whether the new times of the directories count already or not."""
    found = find_shortcut(sources_of(tree), types_here())
    if not settled:
        monkeypatch.setattr(asked, "SETTLED", 10**12)
    for path in (tree, *filter(Path.is_dir, list(tree.rglob("*")))):
        if path.name != "drop-ins":
            Path(path, "other file").touch()
    assert not found.difference()
    tick()
    change(tree)
    assert found.difference()


def test_a_directory_with_two_paths_has_the_entries_of_both(tree: Path) -> None:
    """What the symlink `sbin` leads to and `usr/sbin` are one; both name entries."""
    (tree / "usr/sbin/crun").write_text("program")
    sources = [("place", path, look("place", path)) for path in (f"{tree}/sbin/crun", f"{tree}/usr/sbin/runc")]
    for name in ("crun", "runc"):
        found = find_shortcut(sources, types_here())
        assert not found.difference()
        _replace(tree / "usr/sbin" / name)
        assert found.difference()
        sources = [("place", path, look("place", path)) for _, path, _ in sources]


def test_no_exact_look_is_made_while_it_holds(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what it is for."""
    looks = Looks(json.dumps({"sources": [("mounts", TABLE, look("mounts", TABLE)), *sources_of(tree)]}).encode())
    assert looks.changed() == ""
    monkeypatch.setattr(module, "look", lambda *_: pytest.fail("an exact look"))
    assert looks.changed() == ""


def test_the_time_of_a_directory_that_just_changed_does_not_count(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next change may come within the granularity of the time, and leave it the same: entries are compared."""
    monkeypatch.undo()
    (tree / "usr/sbin/other").touch()
    seen = (tree / "usr/sbin").stat()
    found = find_shortcut(sources_of(tree), types_here())
    assert (states.directory_of, f"{tree}/usr/sbin") not in {
        (state, path) for state, (_, paths, _) in found._all._states.items() for path in paths
    }
    (tree / "usr/sbin/runc").unlink()
    os.utime(tree / "usr/sbin", ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert found.difference()


def test_a_mount_ends_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount may hide any directory of a path without a change of its times."""
    looks = Looks(json.dumps({"sources": [("mounts", TABLE, look("mounts", TABLE)), *sources_of(tree)]}).encode())
    assert looks.changed() == ""
    first = looks._shortcut
    for table in looks._tables.values():
        monkeypatch.setattr(table, "_poll", Moved())
    assert looks.changed() == ""
    assert looks._shortcut is not first


class Moved:
    """A mount table in which something happened that does not count."""

    def poll(self, _timeout: int) -> list[int]:
        return [1]


@pytest.mark.parametrize("types", [{}, dict.fromkeys(types_here(), "nfs4"), dict.fromkeys(types_here(), "fuse.sshfs")])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_times_of_directories_on_servers_do_not_count(
    tree: Path, types: dict[str, str], change: Callable[[Path], object]
) -> None:
    """They may be the same after a change, as those of a file system of unknown type: entries are compared."""
    found = find_shortcut(sources_of(tree), types)
    assert states.directory_of not in found._all._states
    assert not found.difference()
    tick()
    change(tree)
    assert found.difference()


def test_files_of_processes_are_looked_at_exactly(tree: Path) -> None:
    """A magic link leads elsewhere without a change of any directory."""
    with subprocess.Popen(["sleep", "100"]) as process:
        sources = [(kind, path, look(kind, path)) for kind, path in [("link", f"/proc/{process.pid}/exe")]]
        found = shortcut_of(sources)
        assert list(found._others) == sources
        assert not found.difference()
        process.kill()
    assert found.difference()


def test_an_executable_of_a_process_has_a_state(tree: Path) -> None:
    """As a file that no path leads to; it counts no more when the process is another one, or has ended."""
    with subprocess.Popen(["sleep", "100"]) as process:
        path = f"/proc/{process.pid}/exe"
        found = shortcut_of([("file", path, look("file", path))])
        assert not found._others
        assert not found.difference()
        process.kill()
    assert found.difference() == path


def test_symlinks_in_a_circle_have_no_short_cut(tree: Path) -> None:
    """Nor is there an endless search for where they lead."""
    (tree / "a").symlink_to("b/a")
    (tree / "b").symlink_to(".")
    (tree / "c").symlink_to("c")
    sources = [("file", path, look("file", path)) for path in (f"{tree}/a", f"{tree}/c")]
    assert all(seen.startswith("errno") for _, _, seen in sources)
    assert list(shortcut_of(sources)._others) == sources


def test_without_the_table_of_its_own_mounts_every_look_is_exact(tree: Path) -> None:
    """Nobody would tell it of a mount."""
    looks = Looks(json.dumps({"sources": sources_of(tree)}).encode())
    assert looks.changed() == ""
    assert looks._shortcut is None


@pytest.mark.parametrize("seen", ["errno 2", "0\n"])
def test_a_file_of_the_kernel_that_is_absent(seen: str) -> None:
    """It counts as long as it is; one that appears does not."""
    path = "/proc/sys/kernel/no-such-file" if seen == "errno 2" else "/proc/sys/kernel/osrelease"
    assert shortcut_of([("content", path, "errno 2")]).difference() == ("" if seen == "errno 2" else path)
