"""May the root of a Pod mount, and change its root directory?"""

from __future__ import annotations

from msgspec.structs import replace

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, judge, seen_of, stopped
from probe.facts.model import Facts
from probe.facts.nested.model import NestedTrial
from probe.nested import PodRequest

_STEPS = ("masks", "namespaces", "tmpfs", "proc", "keyring", "pivot_root")
_REMEDIATION = (
    "Kernels since 4.18 allow this to the root of a user namespace, so a security module or a patch refuses it: look "
    "for the refusal.\n  journalctl -k | grep -iE 'apparmor|avc|lsm|denied'"
)
_LIMIT = (
    "Raise the limits of namespaces, which count at each ancestor, also for the next boot.\n"
    "  printf 'user.max_mnt_namespaces=65536\\nuser.max_pid_namespaces=65536\\n' > /etc/sysctl.d/90-nested.conf\n"
    "  sysctl -p /etc/sysctl.d/90-nested.conf"
)
_ADMIN = PodRequest(
    "capability", "SYS_ADMIN", "mount(2), unshare(2) and pivot_root(2) need it in a user namespace, too"
)


def check_mounts(facts: Facts, handler: str) -> NestedOutcome:
    """A builder mounts /proc and the layers of an image in namespaces below those of the Pod, and pivots."""
    what = "a builder cannot run a step of a build in a container"
    trial, bad = facts.nested.trial, stopped(facts, _STEPS, what, "NestedMountRefused", _REMEDIATION)
    if bad and trial.value and trial.value.step("namespaces").errno == "ENOSPC" == _first_error(trial.value):
        bad = replace(bad, message=f"{bad.message}: a limit user.max_*_namespaces is used up", remediation=_LIMIT)
    if bad or trial.value is None:
        return judge(bad or Outcome.not_read("whether a builder can run a step of a build", trial), _ADMIN)
    message = "the root of a Pod can mount, even a new /proc while its own is masked, and pivot_root"
    return judge(Outcome.passed(message, seen_of(trial.value, *_STEPS)), _ADMIN)


def _first_error(trial: NestedTrial) -> str:
    return next((step.errno for step in map(trial.step, _STEPS) if step.result != "passed"), "")


CHECKS = (
    NestedCheck(
        id="nested-mounts",
        levels=("build",),
        question="May the root of a Pod mount, and change its root directory?",
        why="buildah, BuildKit and every engine run each container in namespaces below those of the Pod. The runtime's "
        "masks over /proc do not bind the Pod's own root, so procMount: Default is enough here.",
        reasons=("NestedMountRefused",),
        documentation="mount_namespaces(7), pivot_root(2), user_namespaces(7)",
        check=check_mounts,
    ),
)
