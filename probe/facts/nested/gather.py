"""From the host and the trial to the facts of nested containers."""

from __future__ import annotations

import errno
import stat

import msgspec

from probe.facts.filesystems.meaning import error_name
from probe.facts.model import ProbeFacts
from probe.facts.nested.model import SOURCE, NestedFacts, NestedStep, NestedTrial, unknown_nested
from probe.facts.tried import Doubt, SandboxFacts, StepResult
from probe.host.host import Host
from probe.host.nested.trial import STEP_NAMES, NestedAnswer
from probe.host.sandbox.steps import StepAnswer
from probe.reading import Reading, problem_of

_KUBEPODS = ("/sys/fs/cgroup/kubepods.slice", "/sys/fs/cgroup/kubepods")
"""The cgroup of all Pods: with the driver `systemd`, and with `cgroupfs`."""
_RESULTS: dict[str, StepResult] = {"done": "passed", "absent": "skipped", "not-reached": "not-tried"}
_MOUNTS = {
    "unmasked proc": "unmasked tmpfs",
    "proc": "tmpfs",
    "writable sysfs": "tmpfs",
    "sysfs": "tmpfs",
    "overlay": "tmpfs",
    "fuse": "tmpfs",
    "rootless proc": "rootless tmpfs",
    "rootless proc subset": "rootless tmpfs",
    "rootless overlay": "rootless tmpfs",
    "idmap of a volume": "idmap of a tmpfs",
}
"""Step -> the step that made the same system call: when that was allowed, EPERM is the kernel's answer, no filter's."""
_AFTER = {
    "idmapped volume": ("pod user namespace",),
    "pod root": ("pod user namespace",),
    "pod namespaces": ("pod root",),
    "/dev/fuse": ("pod namespaces",),
    "/dev/net/tun": ("pod namespaces",),
    "private root": ("pod namespaces",),
    "full map": ("full user namespace",),
    "unmasked tmpfs": ("full map",),
    "unmasked proc": ("unmasked tmpfs",),
    "tmpfs": ("namespaces",),
    "keyring": ("namespaces",),
    "proc": ("masks", "tmpfs"),
    "overlay files": ("overlay",),
    "idmap of a volume": ("idmapped volume", "full map"),
    "idmap of a tmpfs": ("full map", "tmpfs"),
    "fuse": ("/dev/fuse", "tmpfs"),
    "pivot_root": ("proc",),
    "rootless map": ("rootless user namespace",),
    "rootless tmpfs": ("rootless map",),
    "rootless proc": ("masks", "rootless tmpfs"),
    "rootless proc subset": ("masks", "rootless tmpfs"),
    "rootless overlay": ("rootless tmpfs",),
    "tun": ("/dev/net/tun",),
    **dict.fromkeys(("writable sysfs", "sysfs", "overlay"), ("tmpfs",)),
    **dict.fromkeys(("full user namespace", "masks", "namespaces", "rootless user namespace"), ("private root",)),
    **dict.fromkeys(("ip_forward", "ip_tables", "nat", "bridge", "veth", "vxlan"), ("private root",)),
}
"""Step -> those that must be done before it, as probe/host/nested/container.py has them."""
_SCARCE = (errno.EIO, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.EBUSY)


def gather_nested(host: Host, probe: ProbeFacts, sandbox: Reading[SandboxFacts], kubelet_root: str) -> NestedFacts:
    """All that nested containers need to know of the node."""
    trial = gather_trial(sandbox, probe)
    if probe.entered.kind is not None:  # what is visible is the probe's own container
        return msgspec.structs.replace(unknown_nested(problem_of(probe.entered)), trial=trial)
    return NestedFacts(
        trial=trial,
        inotify_instances=host.read_text("/proc/sys/fs/inotify/max_user_instances").parse(int),
        controllers=_of_pods(host, "cgroup.controllers").parse(lambda text: tuple(text.split()[:100])),
        max_descendants=_of_pods(host, "cgroup.max.descendants").parse(parse_limit),
        fuse_mode=_mode(host, "/dev/fuse"),
        tun_mode=_mode(host, "/dev/net/tun"),
        device_plugins=_device_plugins(host, f"{kubelet_root}/device-plugins"),
    )


def gather_trial(sandbox: Reading[SandboxFacts], probe: ProbeFacts) -> Reading[NestedTrial]:
    """Judged steps of the trial."""
    if sandbox.value is None:
        return problem_of(sandbox)
    answer = sandbox.value.nested
    if answer is None:
        return Reading.without(SOURCE, "not-readable", "its process ended without an answer")
    if answer.late:
        return Reading.without(SOURCE, "timed-out", "no answer in time")
    unconfined = probe.seccomp.value == 0
    return Reading(SOURCE, answer).parse(lambda steps: judge_trial(steps, unconfined))


def judge_trial(answer: NestedAnswer, unconfined: bool) -> NestedTrial:
    """Steps with their meaning; an *unconfined* probe has no seccomp filter, so a refusal is the node's.

    *Errors*: ValueError for the steps of anything else.
    """
    if tuple(step.name for step in answer.steps) != STEP_NAMES:
        raise ValueError("not the steps of a nested trial")
    done = {step.name for step in answer.steps if step.outcome == "done"}
    by_name = {step.name: step for step in answer.steps}
    return NestedTrial(
        steps=tuple(
            _judge_step(step, done, unconfined, "" if step.outcome != "not-reached" else _cause(step.name, by_name))
            for step in answer.steps
        ),
        seconds=answer.seconds,
    )


def _cause(name: str, steps: dict[str, StepAnswer]) -> str:
    """The step that kept the step *name* from being tried, with its error, in parentheses; empty without one."""
    for before in _AFTER.get(name, ()):
        step = steps[before]
        if step.outcome == "failed":
            return f" ({before}: {error_name(step.error)})"
        if step.outcome == "not-reached" and (further := _cause(before, steps)):
            return further
    return ""


def _judge_step(step: StepAnswer, done: set[str], unconfined: bool, cause: str) -> NestedStep:
    kind = _doubt(step, done, unconfined) if step.outcome == "failed" else ""
    result: StepResult = "unknown" if kind else _RESULTS.get(step.outcome, "failed")
    reason = _REASONS.get(result, "") or _DOUBTS.get(kind, "")
    return NestedStep(
        name=step.name,
        result=result,
        kind=kind,
        errno=error_name(step.error),
        reason=f"{reason}{cause}",
        seconds=step.seconds,
    )


def _doubt(step: StepAnswer, done: set[str], unconfined: bool) -> Doubt:
    """Kind of problem when the error proves nothing about the node; empty when it does."""
    if step.detail == "threads":
        return "not-tried"
    if step.error == errno.ETIMEDOUT:
        return "timed-out"
    if step.error in _SCARCE:
        return "not-readable"
    denied = step.error in (errno.EPERM, errno.EACCES, errno.ENOSYS)
    return "not-permitted" if denied and not unconfined and _MOUNTS.get(step.name) not in done else ""


_REASONS: dict[StepResult, str] = {
    "skipped": "its module is not loaded, and trying it could load it",
    "not-tried": "an earlier step that it needs did not work",
}
_DOUBTS: dict[Doubt, str] = {
    "not-permitted": "the probe has a seccomp filter; unknown whether a Pod may do it",
    "timed-out": "the kernel did not answer in time",
    "not-readable": "the trial was interrupted, or ran out of memory, processes or files",
    "not-tried": "the probe is threaded",
}


def parse_limit(text: str) -> str:
    """`max` or a number. *Errors*: ValueError for anything else."""
    limit = text.strip()
    return limit if limit == "max" else str(int(limit))


def _of_pods(host: Host, name: str) -> Reading[str]:
    first, second = (host.read_text(f"{directory}/{name}") for directory in _KUBEPODS)
    return second if first.kind == "absent" else first


def _mode(host: Host, path: str) -> Reading[int]:
    return host.status(path).parse(lambda file: stat.S_IMODE(file.mode))


def _device_plugins(host: Host, directory: str) -> Reading[tuple[str, ...]]:
    names = host.list_directory(directory)
    if names.kind == "absent":
        return Reading(directory, ())
    return names.parse(lambda found: tuple(n for n in found[:50] if n.endswith(".sock") and n != "kubelet.sock"))
