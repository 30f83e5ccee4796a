"""Trial of the sandbox of a Pod with a user namespace, without a Pod.

A child process does the work of a container runtime: it enters a user namespace with a full map and creates all other
namespaces inside; its child, process 1 there, makes the mounts of a container, sets a host name and sets network links
up. Everything ends with these two processes, also after SIGKILL; the kernel removes network links a moment later.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from probe.host import syscalls
from probe.host.background import BackgroundChild
from probe.host.child import Child, ChildError
from probe.host.in_child import become_root
from probe.host.nested.trial import NestedAnswer, nested_child, read_nested
from probe.host.sandbox.links import load_codec
from probe.host.sandbox.root import make_user_namespace, read_cgroup, read_filesystems
from probe.host.sandbox.steps import (
    ANSWERS,
    INSIDE,
    Node,
    Sandbox,
    Step,
    StepAnswer,
    run_step,
)
from probe.reading import Reading

SOURCE = "sandbox trial"
ANSWER_LIMIT = 64 << 10
"""Maximum bytes that `sandbox_child` returns."""
STEP_TIMEOUT = 1.0
"""Seconds for one step, which takes a millisecond on a healthy node."""
NESTED_TIMEOUT = 2.5
"""Seconds for which the trial of nested containers may last longer than this one; after 2 * this it ends itself."""

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
    nested: NestedAnswer | None = None
    """Result of the trial of nested containers; None when it gave none."""
    not_entered: Reading[bool] | None = None
    """Failure to enter the runtime's mount namespace; nothing is tried then, as another one proves nothing."""


def sandbox_child(
    own_proc: int, enter: Callable[[], object], enter_node: Callable[[], Reading[bool] | None] = lambda: None
) -> bytes:
    """Run the trial and return a SandboxAnswer as JSON. Call it in a child: the caller changes its namespaces for good.

    *own_proc* is a descriptor of the /proc of our own PID namespace, opened before entering. *enter_node*, called after
    all imports, moves into the node's mount namespace, *enter* into the runtime's as soon as that is known. When either
    returns a Reading with a problem, nothing is tried. What is nested has a root of its own and needs no runtime, so
    that trial runs meanwhile, in the same user namespace.
    """
    codec = load_codec()
    entered: object = enter_node()
    if isinstance(entered, Reading) and entered.kind:
        return msgspec.json.encode(SandboxAnswer(not_entered=entered))
    userns = make_user_namespace(own_proc)
    with Child(partial(nested_child, own_proc, codec, userns), lifetime=2 * NESTED_TIMEOUT) as nested:
        entered = enter()
        started = time.perf_counter()
        if isinstance(entered, Reading) and entered.kind:
            return msgspec.json.encode(SandboxAnswer(not_entered=entered))
        steps = tuple(_try_sandbox(own_proc, codec, *userns))
        seconds = round(time.perf_counter() - started + steps[0].seconds, 6)
        answer = read_nested(nested, time.monotonic() + NESTED_TIMEOUT)
    return msgspec.json.encode(SandboxAnswer(steps=steps, seconds=seconds, nested=answer))


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


def _try_sandbox(own_proc: int, codec: Any, userns_fd: int, first: StepAnswer) -> list[StepAnswer]:
    parent = os.getppid()
    node = Node(
        own_proc=own_proc,
        filesystems=read_filesystems(own_proc),
        cgroup=read_cgroup(own_proc),
    )
    done = {first.name} if first.outcome == "done" else set()
    answers = [first]
    answers.append(run_step("root inside", (first.name,), done, partial(become_root, userns_fd, parent)))
    for name, flag in _NAMESPACES:  # one by one, to learn which one is refused
        answers.append(run_step(name, ("root inside",), done, partial(syscalls.unshare, flag)))
    if "root inside" in done:
        answers.extend(_run_inside(Sandbox(node, codec), done, INSIDE))
    else:
        answers.extend(StepAnswer(step.name, "not-reached") for step in INSIDE)
    return answers


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
                answers.append(ANSWERS.decode(line))
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
