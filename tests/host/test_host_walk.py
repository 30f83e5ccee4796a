"""Helpers that hang, die or cannot even be started: what is lost is one answer, never the others."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable

import pytest

from probe.host import walk
from probe.host.idmap import Answer, Target

ENOUGH = 30.0
SHORT = 0.2
DONE = Answer("done")


def targets(count: int, **servers: str) -> list[Target]:
    """So many file systems, `/0` on; *servers* names the one that must answer first, as `d1="0:50"`."""
    return [Target(f"/{n}", f"0:{n}", "ext4", server=servers.get(f"d{n}", "")) for n in range(count)]


def answers(
    many: list[Target], *, seconds: float = ENOUGH, timeout: float = ENOUGH, prepare: Callable[[], None] = lambda: None
) -> dict[int, Answer]:
    """Each target's answer by its index."""
    return dict(walk.attempt_all(many, -1, time.monotonic() + seconds, timeout, prepare))


@pytest.fixture
def misbehave(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """(path=what happens there, ...): elsewhere the kernel accepts."""

    def set_up(**deeds: Callable[[], object]) -> None:
        def attempt(target: Target, userns_fd: int) -> Answer:
            deeds.get(target.path.replace("/", "at"), lambda: None)()
            return DONE

        monkeypatch.setattr(walk, "attempt_idmap", attempt)

    return set_up


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_helper_that_is_killed_costs_one_answer(misbehave: Callable[..., None]) -> None:
    """The OOM killer takes whom it likes."""
    misbehave(at1=die, at3=die)
    lost = Answer("helper", errno.EIO)
    assert answers(targets(5)) == {0: DONE, 1: lost, 2: DONE, 3: lost, 4: DONE}


def test_helpers_that_are_killed_before_they_begin(misbehave: Callable[..., None]) -> None:
    """Each costs one answer as well, or it would go on until the time is over."""
    misbehave()
    assert answers(targets(3), prepare=die) == dict.fromkeys(range(3), Answer("helper", errno.EIO))


def test_a_helper_that_has_no_memory_left(misbehave: Callable[..., None]) -> None:
    """It ends by itself."""

    def exhaust() -> None:
        raise MemoryError

    misbehave(at0=exhaust)
    assert answers(targets(2)) == {0: Answer("helper", errno.EIO), 1: DONE}


def test_a_mount_namespace_that_cannot_be_entered(misbehave: Callable[..., None]) -> None:
    """The runtime whose it was has ended: nobody's time ran out."""

    def refuse() -> None:
        raise FileNotFoundError(errno.ENOENT, "gone")

    misbehave()
    assert answers(targets(3), prepare=refuse) == dict.fromkeys(range(3), Answer("setns", errno.ENOENT))


def test_where_nothing_can_be_forked(misbehave: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer says so."""

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "no")

    misbehave()
    monkeypatch.setattr(os, "fork", refuse)
    assert answers(targets(3)) == dict.fromkeys(range(3), Answer("fork", errno.EAGAIN))


def test_each_kind_of_attempt_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """One child makes them all; the overlay comes last, as its attempt changes the mount namespace of the child."""
    monkeypatch.setattr(walk, "attempt_tmpfs", lambda _: Answer("done", 0, (0, os.getpid())))
    monkeypatch.setattr(walk, "attempt_overlay", lambda path, _: Answer(f"overlay {path}", 0, (0, os.getpid())))
    monkeypatch.setattr(walk, "attempt_idmap", lambda target, _: Answer(target.path, 0, (0, os.getpid())))
    many = [Target("/layers", "0:1", "ext4", kind="overlay"), Target("", "", "tmpfs", kind="tmpfs"), *targets(1)]
    found = answers(many)
    assert [answer.step for answer in found.values()] == ["done", "/0", "overlay /layers"]
    assert len({answer.owner for answer in found.values()}) == 1


def test_an_overlay_that_hangs(misbehave: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """No call of it is known to be the one."""
    misbehave()
    monkeypatch.setattr(walk, "attempt_overlay", lambda _path, _fd: signal.pause())
    many = [Target("/layers", "0:50", "nfs4", server="0:50", kind="overlay"), *targets(2)]
    assert answers(many, timeout=SHORT) == {0: Answer("helper", errno.ETIMEDOUT), 1: DONE, 2: DONE}


def test_what_hangs_and_what_lies_behind_the_same_server(misbehave: Callable[..., None]) -> None:
    """One of them is waited for, and all others are answered."""
    misbehave(at1=signal.pause)
    hung = Answer("open_tree", errno.ETIMEDOUT)
    many = targets(5, d1="0:50", d3="0:50", d4="0:51")
    assert answers(many, timeout=SHORT) == {0: DONE, 1: hung, 2: DONE, 3: hung, 4: DONE}


def test_what_is_not_reached_in_time_has_no_answer(misbehave: Callable[..., None]) -> None:
    """Nor what hangs when there was too little time to call it that."""
    misbehave(at1=signal.pause)
    assert answers(targets(3), seconds=2.0) == {0: DONE}
