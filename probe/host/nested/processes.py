"""Processes of the trial: each runs its steps and writes the answers to the one above, which waits a little longer."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import msgspec
from msgspec import Struct

from probe.host import syscalls
from probe.host.child import Child, ChildError
from probe.host.sandbox.steps import ANSWERS, StepAnswer, run_step

TIMEOUT = 1.0
"""Seconds for one step of the innermost process."""
MORE = 0.4
"""Seconds by which a process waits longer than the one below it."""

_INNER = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID

Write = Callable[[bytes], None]


class Task(Struct, frozen=True):
    """One step, and the steps that must be done before it."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[], None]


def write_answer(write: Write, answer: StepAnswer) -> None:
    """Write *answer* as a line of JSON."""
    write(msgspec.json.encode(answer) + b"\n")


def unshare_and_run(name: str, tasks: Sequence[Task], done: set[str], write: Write) -> None:
    """Make a mount and a PID namespace, and run *tasks* in a process inside; *name* is the step that makes them."""
    made = run_step(name, (), done, partial(syscalls.unshare, _INNER))
    if name:
        write_answer(write, made)
    if made.outcome != "done":
        write_answer(write, msgspec.structs.replace(made, name=tasks[0].name))
        return

    def inner(write: Write) -> None:
        for task in tasks:
            answer = run_step(task.name, task.needs, done, task.run)
            write_answer(write, answer)

    rest, error = [task.name for task in tasks], errno.EIO
    try:
        for answer, _ in _answers_of(inner, TIMEOUT):
            write_answer(write, answer)
            rest.remove(answer.name)
    except TimeoutError:
        error = errno.ETIMEDOUT
    if rest:  # the first hung, or ended the process
        write_answer(write, StepAnswer(rest[0], "failed", error))


def _answers_of(function: Callable[[Write], None], timeout: float) -> Iterator[tuple[StepAnswer, int]]:
    """Answers of a child that writes them, with its pid. *Errors*: TimeoutError when silent for *timeout* seconds."""
    with Child(function) as child:
        for line in child.lines(timeout):
            yield ANSWERS.decode(line), child.pid


def available(function: Callable[[Write], None], timeout: float) -> Iterator[tuple[StepAnswer, int]]:
    """The same, which ends where the child hangs, or cannot be made."""
    with suppress(OSError, ChildError, msgspec.DecodeError):
        yield from _answers_of(function, timeout)
