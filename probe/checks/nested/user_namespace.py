"""Can a rootless engine have a second user namespace with a full map?"""

from __future__ import annotations

from typing import Any

from probe.checks.check import Outcome
from probe.checks.nested.check import NestedCheck, NestedOutcome, evidence_of, judge, seen_of
from probe.checks.remedies.kernel import raise_limits
from probe.facts.model import Facts
from probe.finding import Evidence
from probe.nested import NestedLevel, PodRequest
from probe.reading import Reading

_STEPS = ("full user namespace", "full map", "rootless user namespace", "rootless map")
_OF_ROOT = 2  # steps that the Pod's root makes for inner Pods
_USUAL = 100_000 + 65_536  # the first ID after those that distributions give to the first user in subuid(5)
_IDS = PodRequest(
    "subordinate-ids", "1001:64535", "the usual 100000:65536 does not exist in a Pod with fewer than 165536 IDs (EPERM)"
)
_SETID = (
    PodRequest("capability", "SETUID", "a map of more than one UID needs it"),
    PodRequest("capability", "SETGID", "a map of more than one GID needs it"),
    PodRequest("escalation", "true", "newuidmap(1) and newgidmap(1) get their capabilities when they are executed"),
    PodRequest("file-capability", "newuidmap=cap_setuid", "as setuid root, as in Debian, it also needs SYS_ADMIN"),
    PodRequest("file-capability", "newgidmap=cap_setgid", "as setuid root, as in Debian, it also needs SYS_ADMIN"),
)


def check_user_namespace(facts: Facts, handler: str) -> NestedOutcome:
    """The second map must lie in the Pod's own IDs."""
    kubelet = facts.kubelet.value
    ids = kubelet.ids_per_pod if kubelet else None
    few = ids is None or ids.value is None or ids.value < _USUAL
    requests = (*_SETID, *([_IDS] if few else []))
    trial = facts.nested.trial
    if trial.value is None:
        return judge(Outcome.not_read("whether a Pod gets a second user namespace", trial), *requests)
    steps = tuple(map(trial.value.step, _STEPS))
    limit = facts.kernel.namespace_limits.get("user.max_user_namespaces")
    seen: tuple[Reading[Any] | Evidence, ...] = (
        seen_of(trial.value, *_STEPS),
        *([limit] if limit else []),
        *([ids] if ids else []),
    )
    bad = next((step for step in steps if step.result != "passed"), None)
    decides: tuple[NestedLevel, ...] = ("rootless",) if bad in steps[_OF_ROOT:] else ()

    def of(outcome: Outcome) -> NestedOutcome:
        return NestedOutcome(outcome=outcome, pod=requests, decides=decides)

    if spent := next((step for step in steps if step.result == "failed" and step.errno == "ENOSPC"), None):
        message = f"{spent.name}: ENOSPC: user.max_user_namespaces, which counts at each ancestor, is used up"
        more = raise_limits({"user.max_user_namespaces": limit.value if limit else None})
        return of(Outcome.fail("NestedNamespaceLimit", message, *seen, remediation=more))
    if bad is not None and bad.result == "failed":
        message = f"{bad.name}: the kernel answers {bad.errno}, so no second user namespace can be made"
        return of(Outcome.fail("NestedNamespaceRefused", message, evidence_of(bad), *seen[1:]))
    if bad is not None:
        message = f"unknown whether {bad.name} works: {bad.reason}"
        return of(Outcome.unknown(bad.kind or "not-tried", message, *seen))
    if few:
        message = "a second user namespace works with subordinate IDs within the Pod's own 65536, such as 1001:64535"
        told = Evidence("idsPerPod", str(ids.value) if ids and ids.value else "not known, 65536 at least")
        return judge(Outcome.passed(message, *seen, told), *requests)
    return judge(Outcome.passed("a second user namespace works, even with the usual subordinate IDs", *seen), *requests)


CHECKS = (
    NestedCheck(
        id="nested-user-namespace",
        levels=("rootless", "inner-userns"),
        question="Can a rootless engine have a second user namespace with a full map?",
        why="A rootless engine makes a user namespace below that of the Pod and maps subordinate IDs into it, which "
        "must exist in the Pod. Each such namespace counts for its maker and for whoever made those above it.",
        reasons=("NestedNamespaceLimit", "NestedNamespaceRefused"),
        documentation="user_namespaces(7), newuidmap(1), subuid(5), KEP-127 (idsPerPod)",
        check=check_user_namespace,
    ),
)
