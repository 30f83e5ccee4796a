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

Write = Callable[[bytes], None]


class Task(Struct, frozen=True):
    """One step, and the steps that must be done before it."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[], None]


def write_answer(write: Write, answer: StepAnswer) -> None:
    """Write *answer* as a line of JSON."""
    write(msgspec.json.encode(answer) + b"\n")


def unshare_and_run(name: str, tasks: Sequence[Task], done: set[str]) -> Iterator[StepAnswer]:
    """Answers of *tasks*, run by the first process of a new PID namespace, in a mount namespace of its own.

    *name* is the step that makes both; without one it has no answer, but its failure is that of the first task. Call it
    last: once the first process of its PID namespace has ended, the caller can fork no other.
    """
    made = run_step(name, (), done, partial(syscalls.unshare, syscalls.CLONE_NEWPID))

    def inner(write: Write) -> None:
        entered = run_step(name, (), done, partial(syscalls.unshare, syscalls.CLONE_NEWNS))
        write_answer(write, entered)
        for task in tasks if entered.outcome == "done" else ():
            write_answer(write, run_step(task.name, task.needs, done, task.run))

    rest, error = [name, *(task.name for task in tasks)], errno.EIO
    try:
        for answer, _ in _answers_of(inner, TIMEOUT) if made.outcome == "done" else ((made, 0),):
            rest.remove(answer.name)
            if answer.name:
                yield answer
            if answer.name == name and answer.outcome != "done":
                yield msgspec.structs.replace(answer, name=tasks[0].name)
                return
    except TimeoutError:
        error = errno.ETIMEDOUT
    except (OSError, ChildError, msgspec.DecodeError):
        return
    if rest:  # the first hung, or ended the process
        yield StepAnswer(rest[0] or tasks[0].name, "failed", error)


def _answers_of(function: Callable[[Write], None], timeout: float) -> Iterator[tuple[StepAnswer, int]]:
    """Answers of a child that writes them, with its pid. *Errors*: TimeoutError when silent for *timeout* seconds."""
    with Child(function) as child:
        for line in child.lines(timeout):
            yield ANSWERS.decode(line), child.pid


def available(function: Callable[[Write], None], timeout: float) -> Iterator[tuple[StepAnswer, int]]:
    """The same, which ends where the child hangs, or cannot be made."""
    with suppress(OSError, ChildError, msgspec.DecodeError):
        yield from _answers_of(function, timeout)
