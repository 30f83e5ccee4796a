"""Programs of the node: whose are run, with which rights, and what becomes of bad ones."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.prerequisites import require
from probe.host import program
from probe.host.child import ChildError, run_child
from probe.host.program import OUTPUT_LIMIT, Output, Untrusted, open_trusted, run_program

SHELL = os.path.realpath("/bin/sh")
LONG = 30.0
NOBODY = 65534

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def root() -> None:
    require(os.geteuid() == 0, "root")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that root alone may write to, below directories of that kind; and a shell in it."""
    with tempfile.TemporaryDirectory(dir="/var/lib", prefix="userns-probe-test-") as directory:
        shutil.copy(SHELL, f"{directory}/sh")
        os.chmod(directory, 0o755)
        yield Path(directory)


def shell(command: str, timeout: float = LONG, **environment: str) -> Output:
    return run_program(SHELL, ("-c", command), environment, timeout)


def status_fields() -> dict[str, str]:
    """What the kernel says of a program that we run."""
    lines = shell("exec cat /proc/self/status", PATH="/bin:/usr/bin").stdout.splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


# --- how a program runs


def test_what_a_program_prints() -> None:
    """Both streams and the exit status, each for itself."""
    assert shell("echo out; echo err >&2; exit 3") == Output(3, "out\n", "err\n")


def test_bytes_that_are_no_text() -> None:
    """They are replaced."""
    assert shell("printf 'a\\377b'").stdout == "a\ufffdb"


def test_without_any_capability() -> None:
    """Neither now nor by way of another program."""
    fields = status_fields()
    assert {name: int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {
        "CapInh": 0,
        "CapPrm": 0,
        "CapEff": 0,
        "CapAmb": 0,
    }
    assert fields["NoNewPrivs"] == "1"


def test_with_an_environment_of_our_own() -> None:
    """Nothing of ours, neither variables nor descriptors, reaches it; it starts in the root directory."""
    os.environ["USERNS_PROBE_SECRET"] = "x"
    left_open = os.dup(0)
    os.set_inheritable(left_open, True)
    try:
        answer = shell("echo $USERNS_PROBE_SECRET; pwd; echo $GIVEN; cat; ls /proc/self/fd", GIVEN="yes", PATH="/bin")
    finally:
        del os.environ["USERNS_PROBE_SECRET"]
        os.close(left_open)
    assert answer.stdout.split("\n")[:3] == ["", "/", "yes"]
    assert set(answer.stdout.split()[2:]) <= {"0", "1", "2", "3"}  # 3 is the directory that ls reads


def test_signals_work_as_programs_expect() -> None:
    """Python ignores SIGPIPE; a program that inherits this may write for ever to nobody."""
    fields = status_fields()
    assert not int(fields["SigIgn"], 16) & (1 << signal.SIGPIPE - 1)


# --- bad ones


def test_a_program_that_hangs() -> None:
    """It is ended, with the children in its group."""
    with pytest.raises(TimeoutError):
        shell("sleep 1000 & echo $$; wait", timeout=0.2, PATH="/bin")
    assert not [pid for pid in os.listdir("/proc") if pid.isdecimal() and _command(pid) == b"sleep\x001000\x00"]


def _command(pid: str) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def test_a_program_that_is_given_no_time() -> None:
    """It may not even have become itself yet."""
    with pytest.raises(TimeoutError):
        shell("sleep 1000", timeout=0.0, PATH="/bin")


def test_a_program_that_closes_its_output_and_goes_on() -> None:
    """It is waited for as long as if it had not."""
    with pytest.raises(TimeoutError, match="went on"):
        shell("exec >&- 2>&-; exec sleep 1000", timeout=0.2, PATH="/bin")


def test_a_program_that_ends_a_while_after_its_output() -> None:
    """As it may be on a busy machine; it has answered all the same."""
    assert shell("echo answer; exec >&- 2>&-; sleep 1", PATH="/bin").stdout == "answer\n"


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_a_program_that_never_stops_printing(stream: str) -> None:
    """A gibibyte is neither kept nor waited for."""
    with pytest.raises(ChildError, match=f"more than {OUTPUT_LIMIT}"):
        shell(f"while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx {stream}; done")


def test_a_program_that_a_signal_ends() -> None:
    """It is a problem, not an output."""
    with pytest.raises(ChildError, match="signal 6"):
        shell("ulimit -c 0; kill -ABRT $$")


@pytest.mark.parametrize(
    ("content", "mode", "number"),
    [
        (b"not a program at all", 0o755, errno.ENOEXEC),
        (b"", 0o755, errno.ENOEXEC),
        (b"\x7fELF cut off", 0o755, errno.ENOEXEC),
        (b"#!/bin/sh\necho x\n", 0o644, errno.EACCES),
    ],
)
def test_a_file_that_cannot_be_run(place: Path, content: bytes, mode: int, number: int) -> None:
    """The kernel's reason is told."""
    file = place / "program"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(OSError, match=r".+") as raised:
        run_program(str(file), (), {}, LONG)
    assert raised.value.errno == number


def test_a_script_is_handed_to_its_interpreter(place: Path) -> None:
    """By the path that was judged, whatever name it was asked by: some runtimes are wrappers around others."""
    script = place / "wrapper"
    script.write_text('#!/bin/sh\necho "$0" "$1"\n')
    script.chmod(0o755)
    (place / "runc").symlink_to(script)
    output = run_program(str(place / "runc"), ("--version",), {}, LONG)
    assert (output.status, output.stdout) == (0, f"{script} --version\n")


def test_a_program_dies_with_us() -> None:
    """Nothing stays behind when the probe is killed, though the program has no rights left to be ended by name."""

    def parent() -> bytes:
        run_program(SHELL, ("-c", "exec sleep 4321"), {"PATH": "/bin"}, LONG)
        return b""

    with pytest.raises(TimeoutError):
        run_child(parent, 0.3)
    while [pid for pid in os.listdir("/proc") if pid.isdecimal() and _command(pid) == b"sleep\x004321\x00"]:
        time.sleep(0.01)  # the test's own timeout is the watchdog


# --- whose are run


def test_roots_own_program(place: Path) -> None:
    """Through symlinks as well, which are resolved first."""
    (place / "link").symlink_to("sh")
    (place / "far").symlink_to(place / "link")
    for name in ("sh", "link", "far"):
        assert run_program(str(place / name), ("-c", "echo $0"), {}, LONG).stdout.startswith(str(place))


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o4757])
def test_a_file_that_others_may_write(place: Path, mode: int) -> None:
    """Whoever may write it may have written it."""
    (place / "sh").chmod(mode)
    with pytest.raises(Untrusted, match="writable"):
        open_trusted(str(place / "sh"))


def test_a_file_of_somebody_else(place: Path) -> None:
    """Even where only the owner may write."""
    os.chown(place / "sh", NOBODY, 0)
    with pytest.raises(Untrusted, match=f"UID {NOBODY}"):
        open_trusted(str(place / "sh"))


@pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o775, 0), (0o755, NOBODY), (0o1755, NOBODY)])
def test_a_directory_of_others_on_the_way(place: Path, mode: int, owner: int) -> None:
    """Whoever may write to a directory above may put another file in its place."""
    deep = place / "a/b"
    deep.mkdir(parents=True)
    shutil.copy(SHELL, deep / "sh")
    (place / "a").chmod(mode)
    os.chown(place / "a", owner, 0)
    with pytest.raises(Untrusted, match=str(place / "a")):
        open_trusted(str(deep / "sh"))


def test_a_sticky_directory_on_the_way(place: Path) -> None:
    """In /tmp nobody moves what is root's: a directory of root's in it is as good as any."""
    inner = place / "sticky/inner"
    inner.mkdir(parents=True)
    (place / "sticky").chmod(0o1777)
    shutil.copy(SHELL, inner / "sh")
    os.close(open_trusted(str(inner / "sh")))
    os.chown(inner, NOBODY, 0)
    with pytest.raises(Untrusted, match=f"UID {NOBODY}"):
        open_trusted(str(inner / "sh"))


def test_a_symlink_into_a_place_of_others(place: Path) -> None:
    """What counts is where the program lies, not where its name does."""
    (place / "theirs").mkdir()
    shutil.copy(SHELL, place / "theirs/sh")
    os.chown(place / "theirs", NOBODY, NOBODY)
    (place / "runc").symlink_to("theirs/sh")
    with pytest.raises(Untrusted, match="theirs"):
        open_trusted(str(place / "runc"))


@pytest.mark.parametrize("kind", ["fifo", "directory", "socket", "device"])
def test_what_is_no_file(place: Path, kind: str) -> None:
    """It is refused without being waited for."""
    path = place / kind
    if kind == "fifo":
        os.mkfifo(path, 0o700)
    elif kind == "directory":
        path.mkdir()
    else:
        os.mknod(path, (stat.S_IFSOCK if kind == "socket" else stat.S_IFCHR) | 0o700, os.makedev(1, 3))
    with pytest.raises((Untrusted, OSError)):
        open_trusted(str(path))


def test_a_symlink_loop_and_nothing_at_all(place: Path) -> None:
    """Errors of the kernel stay what they are."""
    (place / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links") as loop:
        open_trusted(str(place / "loop"))
    assert loop.value.errno == errno.ELOOP
    with pytest.raises(FileNotFoundError):
        open_trusted(str(place / "missing"))


def test_what_was_judged_is_what_runs(place: Path) -> None:
    """A program that is replaced after it was opened does not run."""
    fd = open_trusted(str(place / "sh"))
    try:
        shutil.copy("/bin/false", place / "other")
        os.rename(place / "other", place / "sh")
        assert program.run_open(fd, str(place / "sh"), ("-c", "echo same"), {}, LONG).stdout == "same\n"
    finally:
        os.close(fd)


def test_no_descriptor_stays_behind(place: Path) -> None:
    """Whatever became of the program."""
    os.chown(place / "sh", NOBODY, 0)
    before = sorted(os.listdir("/proc/self/fd"))
    children = psutil.Process().children()
    for path, command, timeout in (
        (SHELL, "exit 0", LONG),
        (SHELL, "exec sleep 100", 0.1),
        (str(place / "sh"), "", LONG),
    ):
        try:
            run_program(path, ("-c", command), {"PATH": "/bin"}, timeout)
        except (TimeoutError, Untrusted):
            continue
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert psutil.Process().children() == children


def test_no_descriptor_stays_behind_where_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when pipes run out at the last one that is needed."""
    before, pipe, made = sorted(os.listdir("/proc/self/fd")), os.pipe, []

    def last_but_one() -> tuple[int, int]:
        if len(made) == 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made.append(pipe())
        return made[-1]

    monkeypatch.setattr(os, "pipe", last_but_one)
    with pytest.raises(OSError, match="Too many open files"):
        shell("exit 0")
    monkeypatch.undo()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_root_directory_without_dev(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing /dev/null is not taken for a missing program: it reads nothing from elsewhere."""
    open_file = os.open

    def without_null(path: Any, *arguments: Any, **named: Any) -> int:
        if path == os.devnull:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return open_file(path, *arguments, **named)

    monkeypatch.setattr(os, "open", without_null)
    assert shell("cat; echo ends", PATH="/bin:/usr/bin").stdout == "ends\n"
