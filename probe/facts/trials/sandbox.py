"""What became of the sandbox that was tried out: each step with its answer and what it means for Pods."""

from __future__ import annotations

import errno
from typing import Literal

import msgspec
from msgspec import Struct

from probe.facts.tried import SandboxFacts, SandboxStep, StepResult, StepRole
from probe.host.sandbox.steps import StepAnswer
from probe.host.sandbox.trial import SOURCE, STEP_NAMES, SandboxAnswer
from probe.reading import Reading

__all__ = ["SOURCE", "SandboxFacts", "SandboxStep", "gather_sandbox", "limit_of", "proc_answer", "sysfs_answer"]

StepRole = Literal["required", "informational", "control"]
"""`required`: no Pod with a user namespace starts without it; `control`: must be refused, else nothing is proven."""
StepResult = Literal["passed", "failed", "unknown", "skipped", "not-tried"]
"""`skipped`: the kernel does not know it now; `not-tried`: an earlier step stood in the way."""


class SandboxStep(Struct, frozen=True, kw_only=True):
    """One thing that a runtime does for a sandbox."""

    name: str
    role: StepRole
    result: StepResult
    errno: str
    """The name of the error (`ENOSPC`), or empty."""
    kind: Literal["", "not-permitted", "timed-out", "not-readable", "not-tried"]
    """Of an unknown result: why nobody knows."""
    seconds: float
    meaning: str
    """One sentence, without a full stop: what the step is for, or what its error means."""


class SandboxFacts(Struct, frozen=True, kw_only=True):
    """The whole trial: every step, in the order in which they were taken."""

    steps: tuple[SandboxStep, ...]
    seconds: float

    def step(self, name: str) -> SandboxStep:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


def gather_sandbox(answer: Reading[bytes]) -> Reading[SandboxFacts]:
    """What the process that tried it handed back, judged; *answer* is that of `read_answer`."""
    decoded = answer.parse(_decode)
    if decoded.value and decoded.value.not_entered:
        problem = decoded.value.not_entered
        return Reading.without(problem.source, problem.kind or "not-readable", problem.problem)
    return decoded.parse(_judge)


def proc_answer(sandbox: SandboxFacts) -> SandboxStep:
    """What the kernel said to a fresh /proc in a new user namespace; EPERM when a part of the node's is covered."""
    return sandbox.step("proc")


def sysfs_answer(sandbox: SandboxFacts) -> SandboxStep:
    """The same for a fresh /sys, read-only as unprivileged containers get it."""
    return sandbox.step("sysfs")


def _decode(content: bytes) -> SandboxAnswer:
    try:
        return msgspec.json.decode(content, type=SandboxAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _judge(answer: SandboxAnswer) -> SandboxFacts:
    if tuple(step.name for step in answer.steps) != STEP_NAMES:
        raise ValueError("not the steps of a sandbox")
    mounts_work = any(step.name == "tmpfs" and step.outcome == "done" for step in answer.steps)
    steps = tuple(_judge_step(step, mounts_work) for step in answer.steps)
    return SandboxFacts(steps=steps, seconds=answer.seconds)


def _judge_step(step: StepAnswer, mounts_work: bool) -> SandboxStep:
    role, meaning = _STEPS[step.name]
    result: StepResult
    kind: Literal["", "not-permitted", "timed-out", "not-readable", "not-tried"] = ""
    if step.outcome == "done":
        result = "passed"
    elif step.outcome == "absent":
        result, meaning = "skipped", "the running kernel does not know it now, and trying it could load a module"
    elif step.outcome == "not-reached":
        result, meaning = "not-tried", "an earlier step that it needs did not work"
    else:
        kind = _doubt(step, role, mounts_work)
        result = "unknown" if kind else "failed"
        meaning = _DOUBTS[kind] if kind else _meaning_of_error(step, meaning)
    return SandboxStep(
        name=step.name,
        role=role,
        result=result,
        errno=errno.errorcode.get(step.error, str(step.error)) if step.error else "",
        kind=kind,
        seconds=step.seconds,
        meaning=meaning,
    )


def _doubt(
    step: StepAnswer, role: StepRole, mounts_work: bool
) -> Literal["", "not-permitted", "timed-out", "not-readable", "not-tried"]:
    """Why the error says nothing of the node; empty when it does.

    Whoever owns a user namespace may do all of this in it. A lack of permission therefore comes from what confines the
    probe, a seccomp filter or a security module. The exception is EPERM from mount(2) after a tmpfs could be mounted:
    no filter tells types of file systems apart, and security modules answer EACCES.
    """
    if step.detail == "threads":
        return "not-tried"
    if step.error == errno.ETIMEDOUT:
        return "timed-out"
    if step.error in (errno.EIO, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EBUSY):
        return "not-readable"
    if step.error == errno.EPERM and step.name in _MOUNTS and mounts_work:
        return ""
    if step.error in (errno.EPERM, errno.EACCES, errno.ENOSYS) or (step.error == errno.EROFS and step.detail):
        return "not-permitted"
    # A control that failed for a third reason was not allowed, but did not show that it is forbidden either.
    return "not-readable" if role == "control" and step.error else ""


def _meaning_of_error(step: StepAnswer, meaning: str) -> str:
    limit = limit_of(step.name)
    if step.error == errno.ENOSPC and limit:
        return f"the limit {limit} is reached, or namespaces are nested too deeply"
    if step.error == errno.EPERM and step.name in ("proc", "sysfs", "writable sysfs"):
        place = "/proc" if step.name == "proc" else "/sys"
        what = f"a part of {place} is covered or {place} is mounted read-only in the runtime's mount namespace"
        return f"{what}, so the kernel gives none to a user namespace"
    return meaning


def limit_of(step: str) -> str:
    """The sysctl that limits how many namespaces of the kind there may be; empty when the step makes none."""
    kind = {"mount namespace": "mnt", "veth": "net"}.get(step, step.removesuffix(" namespace"))
    return f"user.max_{kind}_namespaces" if step.endswith(" namespace") or step == "veth" else ""


_MOUNTS = ("proc", "sysfs", "writable sysfs", "mqueue", "devpts", "cgroup", "overlay")

_DOUBTS = {
    "not-permitted": "something confines the probe, so nobody knows whether the runtime may do it",
    "timed-out": "the kernel did not answer in time",
    "not-readable": "the trial was cut short, or short of memory, processes or files",
    "not-tried": "the probe is threaded",
}

_STEPS: dict[str, tuple[StepRole, str]] = {
    "user namespace": ("required", "a Pod with hostUsers: false runs in a user namespace with 65536 IDs of its own"),
    "root inside": ("required", "the runtime becomes root of the user namespace before it makes anything else in it"),
    "mount namespace": ("required", "each container has a mount table of its own"),
    "pid namespace": ("required", "each container has process IDs of its own"),
    "ipc namespace": ("required", "each Pod has message queues and shared memory of its own"),
    "uts namespace": ("required", "each Pod has a host name of its own"),
    "cgroup namespace": ("required", "each container sees its own cgroup as the root"),
    "net namespace": ("required", "each Pod has a network of its own, owned by its user namespace"),
    "first process": ("required", "the first process of a container is process 1 of its PID namespace"),
    "mount propagation": ("required", "mounts of a container are kept from the node's mount table"),
    "tmpfs": ("required", "/dev and /dev/shm of containers lie on a tmpfs"),
    "proc": ("required", "each container has a /proc of its own PID namespace"),
    "writable sysfs": ("informational", "only privileged containers get a /sys that can be written"),
    "sysfs": ("required", "each container has a /sys of its own network namespace"),
    "mqueue": ("required", "each container has /dev/mqueue"),
    "devpts": ("required", "each container has terminals of its own in /dev/pts"),
    "cgroup": ("required", "each container sees its cgroup in /sys/fs/cgroup"),
    "overlay": ("informational", "only what builds images inside a Pod mounts an overlay there"),
    "hostname": ("required", "the runtime gives each Pod its host name"),
    "mknod": ("control", "a device node could be made inside a user namespace, which the kernel must refuse"),
    "block file system": ("control", "a block device could be mounted inside a user namespace, which must be refused"),
    "lo": ("required", "each Pod has its own loopback interface"),
    "veth": ("required", "most network plugins connect a Pod with a veth pair"),
}
