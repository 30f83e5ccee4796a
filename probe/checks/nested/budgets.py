"""Will limits run out that all Pods share?"""

from __future__ import annotations

from typing import Any

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, judge
from probe.facts.model import Facts, RuntimeFacts
from probe.reading import Reading

_ENOUGH = 1024
_RAISE = (
    "Raise the limit, now and at each boot.\n"
    "  echo fs.inotify.max_user_instances=8192 > /etc/sysctl.d/90-inotify-instances.conf\n"
    "  sysctl -p /etc/sysctl.d/90-inotify-instances.conf"
)


def check_budgets(facts: Facts, handler: str) -> NestedOutcome:
    """The kernel charges inotify instances and namespaces also to the user that made the Pod's user namespace."""
    instances, runtime = facts.nested.inotify_instances, facts.runtime.value
    if instances.value is None:
        return judge(Outcome.not_read("the limit of inotify instances", instances))
    spaces = facts.kernel.namespace_limits.get("user.max_user_namespaces")
    seen: tuple[Reading[Any], ...] = (instances, *([spaces] if spaces else []), *([runtime.version] if runtime else []))
    if instances.value >= _ENOUGH:
        return judge(Outcome.passed(f"{instances.value} inotify instances are enough for many inner systems", *seen))
    if runtime is None:
        return judge(Outcome.not_read("whether Pods share inotify instances", facts.runtime, *seen))
    if _owner_is_the_pod(runtime):
        message = f"each Pod has its own {instances.value} inotify instances: its user made the namespace"
        return judge(Outcome.passed(message, *seen))
    message = f"all Pods share root's {instances.value} inotify instances, which a few inner systems use up"
    return judge(Outcome.warn(message, *seen, remediation=_RAISE))


def _owner_is_the_pod(runtime: RuntimeFacts) -> bool:
    """True for containerd 2.3 or newer. *Source*: containerd, commits 42ce92b22 and 59cc4cc49."""
    numbers = [int(word) for word in (runtime.version.value or "").split(".")[:2] if word.isdigit()]
    return runtime.name.value == "containerd" and len(numbers) == 2 and tuple(numbers) >= (2, 3)


CHECKS = (
    NestedCheck(
        id="nested-budgets",
        levels=("engine",),
        question="Will limits run out that all Pods share?",
        why="systemd, kubelets and dockerd open inotify instances; the default limit is 128, and containerd before 2.3 "
        "and CRI-O let all Pods share root's.",
        documentation="inotify(7), namespaces(7), kernel/ucount.c",
        check=check_budgets,
    ),
)
