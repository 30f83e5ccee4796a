"""Result of the sandbox trial: each step with its answer and its meaning for Pods."""

from __future__ import annotations

import errno

import msgspec

from probe.facts.filesystems.meaning import error_name
from probe.facts.tried import Doubt, SandboxFacts, SandboxStep, StepResult, StepRole
from probe.host.sandbox.steps import StepAnswer
from probe.host.sandbox.trial import SOURCE, STEP_NAMES, SandboxAnswer
from probe.reading import Reading

__all__ = ("SOURCE", "gather_sandbox", "limit_of", "proc_answer", "sysfs_answer")


def gather_sandbox(answer: Reading[bytes]) -> Reading[SandboxFacts]:
    """Judged steps of the trial; *answer* is the result of `read_answer`."""
    decoded = answer.parse(_decode)
    if decoded.value and decoded.value.not_entered:
        problem = decoded.value.not_entered
        return Reading.without(problem.source, problem.kind or "not-readable", problem.problem)
    return decoded.parse(_judge)


def proc_answer(sandbox: SandboxFacts) -> SandboxStep:
    """Step that mounts a new /proc in a user namespace; EPERM when a part of the node's /proc is covered."""
    return sandbox.step("proc")


def sysfs_answer(sandbox: SandboxFacts) -> SandboxStep:
    """Step that mounts a new /sys, read-only as in unprivileged containers."""
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
    return SandboxFacts(steps=steps, seconds=answer.seconds, nested=answer.nested)


def _judge_step(step: StepAnswer, mounts_work: bool) -> SandboxStep:
    role, meaning = _STEPS[step.name]
    kind = _doubt(step, role, mounts_work) if step.outcome == "failed" else ""
    result, reason = _OUTCOMES.get(step.outcome, ("unknown", _DOUBTS[kind]) if kind else ("failed", ""))
    return SandboxStep(
        name=step.name,
        role=role,
        result=result,
        errno=error_name(step.error),
        kind=kind,
        seconds=step.seconds,
        reason=reason or _meaning_of_error(step, meaning),
    )


def _doubt(step: StepAnswer, role: StepRole, mounts_work: bool) -> Doubt:
    """Doubt when the error proves nothing about the node; empty when it does.

    The owner of a user namespace may do all of this in it, so EPERM and EACCES come from the confinement of the
    probe: a seccomp filter or a security module. The exception is EPERM from mount(2) after a tmpfs could be mounted:
    no filter distinguishes file system types, and security modules answer EACCES.
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
    # A control that failed with another errno proves neither permission nor refusal.
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
    """Sysctl that limits the number of namespaces created by *step*; empty when it creates none."""
    kind = {"mount namespace": "mnt", "veth": "net"}.get(step, step.removesuffix(" namespace"))
    return f"user.max_{kind}_namespaces" if step.endswith(" namespace") or step == "veth" else ""


_MOUNTS = ("proc", "sysfs", "writable sysfs", "mqueue", "devpts", "cgroup", "overlay")

_OUTCOMES: dict[str, tuple[StepResult, str]] = {
    "done": ("passed", ""),
    "absent": ("skipped", "its module is not loaded, and trying it could load it"),
    "not-reached": ("not-tried", "an earlier step that it needs did not work"),
}

_DOUBTS: dict[Doubt, str] = {
    "not-permitted": "something confines the probe; unknown whether the runtime may do it",
    "timed-out": "the kernel did not answer in time",
    "not-readable": "the trial was interrupted, or ran out of memory, processes or files",
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
