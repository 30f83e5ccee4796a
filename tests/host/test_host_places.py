"""What is said of several paths at once, on real files."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from lab.prerequisites import require
from probe.host.executable import handlers
from probe.host.host import LocalHost
from probe.host.places import Place, places
from probe.reading import Reading


def look(*paths: str) -> dict[str, Reading[Place]]:
    """The paths as this process sees them."""
    return msgspec.json.decode(places(f"/proc/{os.getpid()}/root", paths), type=dict[str, Reading[Place]])


@contextmanager
def process(environment: dict[str, str], *wrapper: str) -> Iterator[int]:
    """Pid of a process with that environment, which waits."""
    command = [shutil.which(wrapper[0]) or "", *wrapper[1:]] if wrapper else []
    with subprocess.Popen([*command, "/bin/cat"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as it:
        assert it.stdin
        assert it.stdout
        it.stdin.write(b"!")
        it.stdin.flush()
        assert it.stdout.read(1) == b"!"  # it is the program now, and no longer the wrapper
        yield it.pid
        it.stdin.close()


def test_files_links_and_nothing(tmp_path: Path) -> None:
    """A symlink leads to its target, and each path has an answer of its own."""
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    os.mkfifo(tmp_path / "fifo")
    found = look(*(f"{tmp_path}/{name}" for name in ("folder", "link", "fifo", "gone")), "/", "/dev/null", "\0")
    folder, link, fifo, gone, root, null, broken = found.values()
    assert folder.value
    assert stat.S_IMODE(folder.value.mode) == 0o700
    assert link.value
    assert link.value.path == str(tmp_path / "folder")
    assert fifo.value
    assert stat.S_ISFIFO(fifo.value.mode)
    assert gone.kind == "absent"
    assert root.value
    assert root.value.path == "/"
    assert null.value
    assert null.value.device == "1:3"
    assert broken.kind == "not-readable"


def test_of_a_process_that_has_ended_nothing_is_known(local_host: LocalHost) -> None:
    """No path is absent for that: a runtime that restarts has lost no device. One that nobody waited for is as gone."""
    zombie = os.fork()
    if zombie == 0:
        os._exit(0)
    os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
    for pid in (2**22 + 1, zombie):
        assert {each.kind for each in local_host.places(pid, ["/", "/tmp"]).values()} == {"not-readable"}
    os.waitpid(zombie, 0)


def test_programs_that_cannot_be_executed(tmp_path: Path) -> None:
    """A file with the mode of a program is looked into; any other is not."""
    for name, content, mode in (("good", "#!/bin/sh\n", 0o755), ("bad", "", 0o755), ("data", "", 0o644)):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    found = look(*(f"{tmp_path}/{name}" for name in ("good", "bad", "data")))
    assert [place.value and place.value.defect for place in found.values()] == ["", "is empty", ""]


def test_scripts_of_env(tmp_path: Path) -> None:
    """Env looks along the PATH of the daemon; what it finds there has to start itself, and relative folders vary."""
    (tmp_path / "bin").mkdir()
    for name, content, mode in (
        ("bin/good", "#!/bin/sh\n", 0o755),
        ("bin/bad", "#!/nowhere\n", 0o755),
        ("bin/data", "", 0o644),
        *((f"{name}-script", f"#!/usr/bin/env {name}\n", 0o755) for name in ("good", "bad", "data", "gone")),
    ):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    scripts = [f"{tmp_path}/{name}-script" for name in ("good", "bad", "data", "gone")]
    for path, expected in (
        (f"/nowhere:{tmp_path}/bin", [("", ""), ("needs", ""), ("", "data"), ("", "gone")]),
        ("/nowhere", [("", "good"), ("", "bad"), ("", "data"), ("", "gone")]),
        ("bin", [("", "")] * 4),
    ):
        with process({"PATH": path}) as pid:
            found = msgspec.json.decode(places(f"/proc/{pid}/root", scripts), type=dict[str, Reading[Place]])
        seen = [(place.value.defect[:5], place.value.unfound) for place in found.values() if place.value]
        assert seen == expected
    assert look(f"{tmp_path}/bin/good")[f"{tmp_path}/bin/good"].value


@pytest.mark.parametrize("options", [(), ("--no-new-privs",)])
def test_a_program_of_another_user(tmp_path: Path, options: tuple[str, ...]) -> None:
    """With no_new_privs execve(2) ignores that it is set-user-ID."""
    require(os.geteuid() == 0, "root")
    require(bool(shutil.which("setpriv")), "setpriv (package util-linux)")
    require(not os.statvfs(tmp_path).f_flag & os.ST_NOSUID, "a folder without nosuid")
    program = str(tmp_path / "program")
    shutil.copy("/bin/true", program)
    os.chown(program, 65534, 0)
    os.chmod(program, 0o4755)
    with process({}, "setpriv", *options) as pid:
        (found,) = msgspec.json.decode(places(f"/proc/{pid}/root", [program]), type=dict[str, Reading[Place]]).values()
    assert found.value
    assert found.value.runs_as == (0 if options else 65534)


@pytest.mark.parametrize(("fstype", "names"), [("autofs", set()), ("binfmt_misc", {"qemu-arm"})])
def test_handlers_of_other_formats(tmp_path: Path, fstype: str, names: set[str]) -> None:
    """They are listed where their file system is mounted; to list an automount would mount it."""
    for name in ("register", "status", "qemu-arm"):
        (tmp_path / name).touch()
    mounts = [b"21 1 0:5 / /proc rw - proc proc rw\n", f"32 21 0:30 / {tmp_path} rw - {fstype} systemd-1 rw\n".encode()]
    assert handlers(mounts, str(tmp_path)) == names


@pytest.mark.real
def test_what_chattr_fixed(tmp_path: Path) -> None:
    """Not even root makes anything in it."""
    require(os.geteuid() == 0, "root")
    require(bool(shutil.which("chattr")), "chattr (package e2fsprogs)")
    done = subprocess.run(["chattr", "+i", tmp_path], check=False)
    require(done.returncode == 0, "a file system with attributes, and CAP_LINUX_IMMUTABLE")
    try:
        found = look(str(tmp_path), "/")
    finally:
        subprocess.run(["chattr", "-i", tmp_path], check=True)
    assert [place.value and place.value.immutable for place in found.values()] == [True, False]
    assert [place.value and place.value.append_only for place in found.values()] == [False, False]


@pytest.mark.real
def test_a_binary_that_becomes_another_user(tmp_path: Path) -> None:
    """The kernel ignores the bit of a script, so it runs as root."""
    require(os.geteuid() == 0, "root")
    binary, script, own = (tmp_path / name for name in ("binary", "script", "own"))
    shutil.copy("/bin/true", binary)
    shutil.copy("/bin/true", own)
    script.write_text("#!/bin/sh\n")
    for path, owner in ((binary, 65534), (script, 65534), (own, 0)):
        os.chown(path, owner, 0)
        path.chmod(0o4755)
    found = look(*map(str, (binary, script, own)))
    assert [place.value and place.value.runs_as for place in found.values()] == [65534, 0, 0]
