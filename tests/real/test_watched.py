"""What the kernel watches for looks: on file systems of every kind, for a user of its own, and nothing becomes busy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.real import kernel
from lab.real.node import CHECKOUT
from probe.host.look import look
from probe.watch import asked, watched
from probe.watch.inotify import inotify_init1
from probe.watch.shortcut import Shortcut, find_shortcut
from probe.watch.watched import NOBODY
from tests.test_watch_shortcut import close_all, types_here

__all__ = ["close_all"]  # a fixture
pytestmark = pytest.mark.real
MS_BIND = 0x1000
LOOKS_AT_FILES = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from probe.host.look import look
from probe.watch import watched
from probe.watch.looks import Looks
watched.QUIET = -(10**18)
if sys.argv[3]:
    open("/proc/sys/user/max_inotify_watches", "w").write(sys.argv[3])
paths = [os.path.join(sys.argv[2], name) for name in "abcdefgh"]
table = "/proc/self/mountinfo"
sources = [("file", path, look("file", path)) for path in paths] + [("mounts", table, look("mounts", table))]
looks = Looks(json.dumps({"sources": sources}).encode())
assert [looks.changed(), looks.changed(), looks.changed(full=False)] == [""] * 3
asked, watching = looks._shortcut._asked._states, looks._shortcut._watched
print(sum(len(paths) for _, paths, _ in asked.values()), watching and len(watching._states))
for path in paths:
    os.chmod(path, 0o600)
    assert looks.changed(full=False), path
    os.chmod(path, 0o644)
"""


@pytest.fixture
def place(workspace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory; directories are compared by their times, and watched, however new they are."""
    monkeypatch.setattr(asked, "SETTLED", -(10**12))
    monkeypatch.setattr(watched, "QUIET", -(10**18))
    path = Path(workspace, "watched")
    path.mkdir()
    yield path
    for target in sorted(kernel.mounts_below(str(path)), reverse=True):
        kernel.detach(target)
    subprocess.run(["rm", "-rf", path], check=True)


def watching(*paths: Path) -> Shortcut:
    """A short cut that asks for nothing of these files, and of what is on the way."""
    found = find_shortcut([("file", str(path), look("file", str(path))) for path in paths], types_here())
    assert found.difference() == found.difference(full=False) == ""
    assert not {str(path) for path in paths} & {path for _, asked, _ in found._asked._states.values() for path in asked}
    return found


def overlay(place: Path) -> Path:
    """A mounted overlay that has `file` and `folder/file` of its lower directory."""
    for name in ("lower/folder", "upper", "work", "merged"):
        (place / name).mkdir(parents=True)
    for name in ("file", "folder/file"):
        (place / "lower" / name).write_text("one")
    options = ",".join(f"{key}={place}/{name}" for key, name in (("lowerdir", "lower"), ("upperdir", "upper")))
    kernel.mount("overlay", str(place / "merged"), "overlay", 0, f"{options},workdir={place}/work")
    return place / "merged"


def append(path: Path) -> None:
    with open(path, "a") as file:
        file.write("two")


OVERLAY: dict[str, Callable[[Path], object]] = {
    "copied up by a write": lambda merged: append(merged / "folder/file"),
    "copied up by a mode": lambda merged: (merged / "folder/file").chmod(0o600),
    "hidden": lambda merged: (merged / "folder/file").unlink(),
    "created": lambda merged: (merged / "folder/absent").touch(),
    "replaced": lambda merged: (merged / "file").rename(merged / "folder/file"),
    "attribute": lambda merged: os.setxattr(merged / "folder/file", "trusted.x", b"1"),
}


@pytest.mark.parametrize("change", OVERLAY.values(), ids=OVERLAY)
def test_what_happens_on_an_overlay_is_found(place: Path, change: Callable[[Path], object]) -> None:
    """Also when the first change makes a file another one of another layer, and what comes after it."""
    merged = overlay(place)
    found = watching(merged / "folder/file", merged / "folder/absent")
    change(merged)
    assert found.difference(full=False)


def test_what_was_copied_up_is_watched(place: Path) -> None:
    """As any other file."""
    merged = overlay(place)
    append(merged / "file")
    found = watching(merged / "file")
    append(merged / "file")
    assert found.difference(full=False) == str(merged / "file")


def test_a_hard_link_of_a_lower_layer_is_asked_for(place: Path) -> None:
    """Each lookup of it may make an inode of its own, and only one of them would be watched."""
    merged = overlay(place)
    (place / "lower/alias").hardlink_to(place / "lower/file")
    found = find_shortcut([("file", f"{merged}/file", look("file", f"{merged}/file"))], types_here())
    assert found.difference() == found.difference(full=False) == ""
    assert any(f"{merged}/file" in paths for _, paths, _ in found._asked._states.values())
    append(merged / "file")
    assert found.difference(full=False) == f"{merged}/file"


def test_what_happens_by_another_mount_is_found(place: Path) -> None:
    """A bind mount of a directory has the same files."""
    (place / "one").mkdir()
    (place / "two").mkdir()
    (place / "one/file").write_text("one")
    kernel.mount(str(place / "one"), str(place / "two"), "", MS_BIND)
    found = watching(place / "one/file", place / "one/absent")
    append(place / "two/file")
    assert found.difference(full=False) == f"{place}/one/file"
    found = watching(place / "one/file", place / "one/absent")
    (place / "two/absent").touch()
    assert found.difference(full=False) == f"{place}/one"


def test_a_watched_file_keeps_no_mount_busy(place: Path) -> None:
    """umount(2) fails with EBUSY where a file is open. The watches end, and a look finds that."""
    kernel.mount("test", str(place), "tmpfs")
    (place / "file").write_text("one")
    found = watching(place / "file", place / "absent")
    subprocess.run(["umount", place], check=True)
    assert found.difference(full=False)


def test_root_keeps_its_instances(place: Path) -> None:
    """The instance is charged to another user, and every capability is as before."""
    before, held = status(), []
    (place / "file").touch()
    while (descriptor := inotify_init1(os.O_CLOEXEC)) >= 0:
        held.append(descriptor)
    try:
        found = watching(place / "file")
        assert found._watched
        assert inotify_init1(os.O_CLOEXEC) < 0
        assert status() == before
        append(place / "file")
        assert found.difference(full=False)
    finally:
        for descriptor in held:
            os.close(descriptor)


def status() -> list[str]:
    """Users and capabilities of this process."""
    with open("/proc/self/status") as lines:
        return [line for line in lines if line.startswith(("Uid", "Gid", "Cap"))]


ENTERING = ("sys_admin", "setuid", "setgid", "sys_chroot", "sys_ptrace", "dac_read_search")
FILES = 8
SETTINGS: dict[str, tuple[tuple[str, ...], bool]] = {
    "plain root": ((), True),
    "the capabilities of deploy/entering": (("setpriv", f"--bounding-set=-all,+{',+'.join(ENTERING)}"), True),
    "without CAP_SETUID": (("setpriv", "--bounding-set=-setuid"), False),
    "a user namespace without that user": (("unshare", "--user", "--map-root-user"), False),
}


def looked(place: Path, wrapper: tuple[str, ...], limit: str = "", **options: Any) -> list[str]:
    """Looks at files of *place* in a process of its own: the number of paths that are asked for, and of watches."""
    for name in "abcdefgh":
        (place / name).touch()
    command = [*wrapper, sys.executable, "-c", LOOKS_AT_FILES, CHECKOUT, str(place), limit]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert not done.returncode, done.stderr
    return str(done.stdout).split()


@pytest.mark.parametrize(("wrapper", "watches"), SETTINGS.values(), ids=SETTINGS)
def test_whoever_may_not_be_another_user_asks(place: Path, wrapper: tuple[str, ...], watches: bool) -> None:
    """Each change is found in any case."""
    assert (looked(place, wrapper)[1] != "None") == watches


def test_what_exceeds_the_limit_of_watches_is_asked_for(place: Path) -> None:
    """One of a user namespace here, in which the other user exists; the files that are watched are not asked for."""
    with kernel.user_namespace(0, NOBODY + 1) as namespace:
        wrapper = ("nsenter", f"--user=/proc/self/fd/{namespace}")
        asked_for, watches = map(int, looked(place, wrapper, "5", pass_fds=(namespace,)))
    assert watches == 5
    assert asked_for >= FILES - 5
