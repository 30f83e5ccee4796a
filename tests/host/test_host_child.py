"""Children that hang, crash, lie or talk too much, and what their parent sees of it."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from collections.abc import Callable

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.host.child import FRAME_LENGTH, Child, ChildError, run_child

LONG = 30.0
Write = Callable[[bytes], None]


def forever() -> bytes:
    while True:
        signal.pause()


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    """Return once the process has ended; the test's own timeout is the watchdog."""
    while is_alive(pid):
        time.sleep(0.005)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=2000))
def test_what_a_child_returns_comes_back(data: bytes) -> None:
    """Any bytes, also none and those of its own framing."""
    assert run_child(lambda: data, LONG) == data


def test_more_than_a_pipe_holds() -> None:
    """The child writes while the parent reads."""
    data = os.urandom(1 << 20)
    assert run_child(lambda: data, LONG, limit=1 << 20) == data


@pytest.mark.parametrize("size", [1001, 1050, 1 << 20])
def test_more_than_allowed(size: int) -> None:
    """One byte too many is a problem, not a shorter answer."""
    with pytest.raises(ChildError, match="more than"):
        run_child(lambda: b"x" * size, LONG, limit=1000)
    assert run_child(lambda: b"x" * 1000, LONG, limit=1000) == b"x" * 1000


def test_a_child_that_hangs() -> None:
    """It is given up in time."""
    with pytest.raises(TimeoutError):
        run_child(forever, 0.05)


def test_a_child_that_hangs_is_ended() -> None:
    """It does not stay behind, though nothing in it agreed."""

    def stubborn(write: Write) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        forever()

    with Child(stubborn) as child:
        assert is_alive(child.pid)
    assert not is_alive(child.pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR1, signal.SIGTERM])
def test_a_child_that_is_killed(number: int) -> None:
    """The signal is told."""

    def die() -> bytes:
        os.kill(os.getpid(), number)
        return b"never"

    with pytest.raises(ChildError, match=f"signal {number:d}"):
        run_child(die, LONG)


def test_a_child_that_is_killed_while_it_answers() -> None:
    """Half an answer is none."""

    def killed_on_the_way() -> bytes:
        pid, parent = os.getpid(), os.getppid()
        if os.fork() == 0:
            while os.getppid() == pid:  # until the answer fills the pipe, and its reader, who is stopped, sees no end
                time.sleep(0.05)
                os.kill(pid, signal.SIGKILL)
            os.kill(parent, signal.SIGCONT)
            os._exit(0)
        os.kill(parent, signal.SIGSTOP)
        return b"x" * (1 << 20)

    def outer() -> bytes:
        try:
            return run_child(killed_on_the_way, LONG, limit=1 << 21)
        except ChildError as error:
            return f"told: {error}".encode()

    assert run_child(outer, LONG, limit=1 << 21).startswith(b"told: ended without an answer (signal 9)")


@pytest.mark.parametrize("status", [0, 3])
def test_a_child_that_just_ends(status: int) -> None:
    """Without an answer even success is a problem."""
    with pytest.raises(ChildError, match=f"exit status {status}"):
        run_child(lambda: os._exit(status), LONG)


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError(), AssertionError(), SystemExit(0), KeyboardInterrupt()]
)
def test_a_child_with_a_bug(error: BaseException, capfd: pytest.CaptureFixture[str]) -> None:
    """It prints nothing, never returns into its parent's code, and gives no answer."""

    def fail() -> bytes:
        raise error

    with pytest.raises(ChildError, match="exit status 1"):
        run_child(fail, LONG)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), FileNotFoundError),
        (PermissionError(errno.EPERM, "x"), PermissionError),
        (OSError(errno.EIO, "x"), OSError),
        (OSError("without a number"), OSError),
        (TimeoutError("without a number"), TimeoutError),
        (MemoryError(), OSError),
        (ChildError("of a child's child"), ChildError),
        (ValueError("with words"), ValueError),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"), ValueError),
        (ValueError("with half a letter: \udcff"), ValueError),
        (ValueError("x" * (1 << 21)), ValueError),
    ],
)
def test_errors_that_mean_something_arrive(raised: Exception, seen: type[Exception]) -> None:
    """The parent handles them as if the function had run in itself."""

    def fail() -> bytes:
        raise raised

    with pytest.raises(seen) as caught:
        run_child(fail, LONG)
    if isinstance(raised, OSError) and raised.errno:
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == raised.errno


def test_lines_come_one_by_one() -> None:
    """Each when it is written, in whatever pieces."""

    def speak(write: Write) -> None:
        for piece in (b"on", b"e\ntwo\nth", b"ree\n", b"rest without an end"):
            write(piece)
            time.sleep(0.005)

    with Child(speak) as child:
        assert list(child.lines(LONG)) == [b"one", b"two", b"three"]


def test_a_child_that_falls_silent_between_lines() -> None:
    """What it said before stays known."""

    def speak(write: Write) -> None:
        write(b"one\n")
        forever()

    with Child(speak) as child:
        heard = child.lines(0.1)
        assert next(heard) == b"one"
        with pytest.raises(TimeoutError):
            next(heard)


def test_lines_without_end_are_bounded() -> None:
    """One endless line, or endlessly many, is too much."""
    for data in (b"x" * 100, b"x\n" * 100):

        def flood(write: Write, data: bytes = data) -> None:
            while True:
                write(data)

        with Child(flood) as child, pytest.raises(ChildError):
            for _ in child.lines(LONG, limit=10_000):
                pass
        assert not is_alive(child.pid)


def test_a_child_dies_with_its_parent() -> None:
    """Also when the parent is killed."""

    def parent(write: Write) -> None:
        child = Child(lambda _: print(forever()))  # noqa: T201 - never comes to printing
        write(b"%d\n" % child.pid)
        forever()

    with Child(parent) as middle:
        grandchild = int(next(middle.lines(LONG)))
        assert is_alive(grandchild)
    wait_until_gone(grandchild)


def test_nobody_waits_for_children_where_they_are_forgotten() -> None:
    """Whoever starts us may have SIGCHLD ignored; then the kernel keeps no status unless we say so."""

    def careless() -> bytes:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            run_child(lambda: os._exit(7), LONG)
        except ChildError as error:
            return str(error).encode()
        return b"nothing"

    assert b"exit status 7" in run_child(careless, LONG)


def test_ctrl_c_is_the_parents_business() -> None:
    """The terminal sends it to the whole group; a child that gives in would look like one that crashed."""

    def interrupted() -> bytes:
        os.kill(os.getpid(), signal.SIGINT)
        return b"still here"

    assert run_child(interrupted, LONG) == b"still here"


def test_no_descriptor_stays_behind() -> None:
    """Whatever became of the child, its pipe is closed and its entry in the process table is gone."""

    before = sorted(os.listdir("/proc/self/fd"))
    children = psutil.Process().children()
    outcomes = []
    for function, seconds in ((lambda: b"x", LONG), (lambda: os._exit(1), LONG), (forever, 0.2)):
        try:
            outcomes.append(run_child(function, seconds))
        except (TimeoutError, ChildError) as error:
            outcomes.append(type(error))
    assert outcomes == [b"x", ChildError, TimeoutError]
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert psutil.Process().children() == children


def test_no_descriptor_stays_behind_where_nothing_can_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that has reached its limit of processes says so."""

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    before = sorted(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(BlockingIOError):
        run_child(lambda: b"x", LONG)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_what_was_answered_in_time_is_read_late() -> None:
    """Something else may have taken the time until then."""
    with Child(lambda write: write(b"in time")) as child:
        while is_alive(child.pid):
            time.sleep(0.005)
        assert child.read(time.monotonic() - 1) == b"in time"


def test_more_descriptors_than_select_knows() -> None:
    """Whoever started the probe may have left them open, and then its own have numbers above 1023."""
    null = os.open(os.devnull, os.O_RDONLY)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    many = [os.dup(null) for _ in range(1100)]
    try:
        assert run_child(lambda: b"x", LONG) == b"x"
    finally:
        for descriptor in (*many, null):
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("pieces", [[b"x" * 70000], [b"", b"x"], [b"x", b"yz"]])
def test_a_frame_comes_whole(pieces: list[bytes]) -> None:
    """However it is cut on its way."""
    content = b"".join(pieces)

    def in_pieces(write: Write) -> None:
        for byte in FRAME_LENGTH.pack(len(content)):
            write(bytes([byte]))
        for piece in pieces:
            write(piece)

    with Child(in_pieces) as child:
        assert child.read_frame(time.monotonic() + LONG, limit=len(content)) == content


def test_a_frame_that_is_too_long_or_cut_off() -> None:
    """Neither is an answer."""
    with (
        Child(lambda write: write(FRAME_LENGTH.pack(3) + b"xyz")) as child,
        pytest.raises(ChildError, match="more than"),
    ):
        child.read_frame(time.monotonic() + LONG, limit=2)
    with Child(lambda write: write(FRAME_LENGTH.pack(3) + b"xy")) as child, pytest.raises(ChildError, match="ended"):
        child.read_frame(time.monotonic() + LONG, limit=3)
