"""Trial of the sandbox of a Pod with a user namespace, without a Pod.

A child process does the work of a container runtime: it enters a user namespace with a full map and creates all other
namespaces inside; its child, process 1 there, makes the mounts of a container, sets a host name and sets network links
up. Everything ends with these two processes, also after SIGKILL; the kernel removes network links a moment later.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from probe.host import syscalls
from probe.host.background import BackgroundChild
from probe.host.child import Child, ChildError, die_with_parent
from probe.host.idmap import attempt_user_namespace
from probe.host.sandbox.links import load_codec
from probe.host.sandbox.steps import (
    INSIDE,
    Node,
    Sandbox,
    Step,
    StepAnswer,
    parse_cgroup,
    parse_filesystems,
    run_step,
)
from probe.reading import Reading

T = TypeVar("T")

SOURCE = "sandbox trial"
ANSWER_LIMIT = 64 << 10
"""Maximum bytes that `sandbox_child` returns."""
STEP_TIMEOUT = 1.0
"""Seconds for one step, which takes a millisecond on a healthy node."""

_LINES = 500_000  # maximum lines read from a file of /proc; the kernel allows 100,000 mounts
_NAMESPACES = (
    ("mount namespace", syscalls.CLONE_NEWNS),
    ("pid namespace", syscalls.CLONE_NEWPID),
    ("ipc namespace", syscalls.CLONE_NEWIPC),
    ("uts namespace", syscalls.CLONE_NEWUTS),
    ("cgroup namespace", syscalls.CLONE_NEWCGROUP),
    ("net namespace", syscalls.CLONE_NEWNET),
)
STEP_NAMES: tuple[str, ...] = (
    "user namespace",
    "root inside",
    *(name for name, _ in _NAMESPACES),
    *(step.name for step in INSIDE),
)
"""Names of all steps, in order of execution."""


class SandboxAnswer(Struct, frozen=True, kw_only=True):
    """Result of the trial."""

    steps: tuple[StepAnswer, ...] = ()
    """One for each of STEP_NAMES, in that order; empty when nothing was tried."""
    seconds: float = 0.0
    """Duration from entering the node to the end, without imports."""
    not_entered: Reading[bool] | None = None
    """Failure to enter the runtime's mount namespace; nothing is tried then, as another one proves nothing."""


def sandbox_child(own_proc: int, enter: Callable[[], object]) -> bytes:
    """Run the trial and return a SandboxAnswer as JSON. Call it in a child: the caller changes its namespaces for good.

    *own_proc* is a descriptor of the /proc of our own PID namespace, opened before entering. *enter*, called after all
    imports, moves into the runtime's mount namespace. When it returns a Reading with a problem, nothing is tried.
    """
    codec = load_codec()
    started = time.perf_counter()
    entered = enter()
    if isinstance(entered, Reading) and entered.kind:
        return msgspec.json.encode(SandboxAnswer(not_entered=entered))
    steps = tuple(_try_sandbox(own_proc, codec))
    return msgspec.json.encode(SandboxAnswer(steps=steps, seconds=round(time.perf_counter() - started, 6)))


def read_answer(child: Child | BackgroundChild, deadline: float) -> Reading[bytes]:
    """Answer of a child that runs `sandbox_child` by *deadline* (time.monotonic()), or the problem."""
    try:
        answer = child.read(deadline, ANSWER_LIMIT)
    except TimeoutError:
        return Reading.without(SOURCE, "timed-out", "no answer in time")
    except ChildError as error:
        return Reading.without(SOURCE, "not-readable", str(error))
    if not answer:
        return Reading.without(SOURCE, "not-readable", "its process ended without an answer")
    return Reading(SOURCE, answer)


def _try_sandbox(own_proc: int, codec: Any) -> list[StepAnswer]:
    parent = os.getppid()
    node = Node(
        own_proc=own_proc,
        filesystems=_read(
            own_proc, "filesystems", lambda lines: parse_filesystems(b"".join(lines).decode(errors="replace"))
        ),
        cgroup=_read(own_proc, "self/mountinfo", parse_cgroup),
    )
    userns_fd, first = _make_user_namespace(own_proc)
    done = {first.name} if first.outcome == "done" else set()
    answers = [first]
    become_root = partial(_become_root, userns_fd, parent)
    answers.append(run_step("root inside", (first.name,), done, become_root))
    for name, flag in _NAMESPACES:  # one by one, to learn which one is refused
        answers.append(run_step(name, ("root inside",), done, partial(syscalls.unshare, flag)))
    if "root inside" in done:
        answers.extend(_run_inside(Sandbox(node, codec), done, INSIDE))
    else:
        answers.extend(StepAnswer(step.name, "not-reached") for step in INSIDE)
    return answers


def _make_user_namespace(own_proc: int) -> tuple[int, StepAnswer]:
    started = time.perf_counter()
    fd, answer = attempt_user_namespace(own_proc)
    seconds = round(time.perf_counter() - started, 6)
    if answer.error:
        return -1, StepAnswer("user namespace", "failed", answer.error, seconds, answer.step)
    return fd, StepAnswer("user namespace", "done", 0, seconds)


def _become_root(userns_fd: int, parent: int) -> None:
    """Join the user namespace as UID and GID 0, as runtimes do. *Source*: user_namespaces(7)."""
    syscalls.setns(userns_fd, syscalls.CLONE_NEWUSER)
    die_with_parent(parent)  # here and below: new credentials clear the parent-death signal
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    die_with_parent(parent)


def _run_inside(sandbox: Sandbox, done: set[str], steps: tuple[Step, ...]) -> list[StepAnswer]:
    """Answers of process 1 of the sandbox. A step that times out ends the trial."""

    def first_process(write: Callable[[bytes], None]) -> None:
        for step in steps:
            answer = run_step(step.name, step.needs, done, partial(step.run, sandbox))
            write(msgspec.json.encode(answer) + b"\n")

    answers: list[StepAnswer] = []
    error = errno.EIO
    try:
        with Child(first_process) as child:
            for line in child.lines(STEP_TIMEOUT):
                answers.append(msgspec.json.decode(line, type=StepAnswer))
    except TimeoutError:
        error = errno.ETIMEDOUT
    except (ChildError, msgspec.DecodeError):
        pass
    except OSError as problem:  # of fork(2)
        error = problem.errno or errno.EIO
    missing = [step.name for step in steps[len(answers) :]]
    answers.extend(StepAnswer(name, "failed", error) for name in missing[:1])
    answers.extend(StepAnswer(name, "not-reached") for name in missing[1:])
    return answers


def _read(own_proc: int, name: str, parse: Callable[[Iterable[bytes]], T]) -> T:
    """*parse* applied to the lines of a file of our own /proc, which no mount of the node can cover or slow down."""
    with open(os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=own_proc), "rb") as file:
        return parse(islice(file, _LINES))
